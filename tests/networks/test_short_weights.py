"""Weights in 8 bits: how far they are from what they were, and files that hold them."""

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.io.model import load_models, save_models, stored_dtype
from voxpick.networks.model import Model, unpack
from voxpick.networks.short_weights import STEPS, restored, shortened


def test_every_weight_comes_back_within_half_a_step_of_its_channel():
    torch.manual_seed(0)
    weight = (
        torch.randn(8, 16, 3, 3, 3) * torch.tensor([1e-6, 1e-3, 0.1, 1, 10, 1e3, 1e6, 0])[:, None, None, None, None]
    )
    short = shortened(weight)
    back, largest = restored(short), weight.abs().amax(dim=(1, 2, 3, 4), keepdim=True)
    assert short["codes"].dtype == torch.int8 and back.dtype == torch.float32
    assert ((back - weight).abs() <= 0.5001 * largest / STEPS).all()
    assert torch.equal(shortened(back)["codes"], short["codes"])


def test_small_tensors_and_counters_are_kept():
    few, count = torch.randn(1023), torch.tensor(7)
    assert torch.equal(restored(shortened(few)), few.half().float())
    assert torch.equal(restored(shortened(count)), count) and shortened(count).dtype == torch.int64


def test_a_file_of_them_is_a_quarter_as_large_and_does_nearly_the_same(tmp_path):
    torch.manual_seed(1)
    settings = {"classes": 3, "widths": (16, 32), "blocks": (1, 2)}
    model = Model.create("picknet", settings, classes=["background", "a", "b"], voxel_size=10.0)
    model.network.eval()
    for name, dtype in (("long", None), ("short", torch.int8), ("again", torch.int8)):
        save_models(tmp_path / f"{name}.pt", {"picker": model}, dtype=dtype)
        again = load_models(tmp_path / f"{name}.pt")["picker"]
        if name == "short":
            image = torch.randn(1, 1, 16, 16, 16)
            with torch.no_grad():
                expected, found = model.network(image), again.network(image)
            assert (found - expected).abs().max() < 0.05 * expected.abs().max()
            assert not torch.equal(found, expected)
            model = again
    assert (tmp_path / "short.pt").stat().st_size < 0.3 * (tmp_path / "long.pt").stat().st_size
    assert stored_dtype(tmp_path / "short.pt") == torch.int8 and stored_dtype(tmp_path / "long.pt") == torch.float32
    states = [load_models(tmp_path / f"{name}.pt")["picker"].network.state_dict() for name in ("short", "again")]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_file_of_a_later_version_says_which_are_known():
    with pytest.raises(VoxpickError, match="format 1 or 2"):
        unpack({"voxpick_model": 3, "parts": {}})
