"""Model files and checkpoints that were damaged or made up: refused by name, never used, and no code in them is run."""

import pickle
import warnings

import pytest
import torch

from voxpick.detect.prepare import gains_needed
from voxpick.errors import VoxpickError
from voxpick.io.model import load_models, save_models
from voxpick.io.run_directory import RunDirectory
from voxpick.methods.catalogue import method_of
from voxpick.networks.model import Model
from voxpick.volume import Volume

TINY = {"in_channels": 1, "classes": 2, "depth": 2, "width": 1, "dilations": [1]}


@pytest.fixture
def model(tmp_path):
    made = Model.create("msdnet", TINY, classes=["background", "particle"], voxel_size=10.0)
    save_models(tmp_path / "model.pt", {"localizer": made})
    return tmp_path / "model.pt"


def refused(path, data, expected):
    torch.save(data, path)
    with pytest.raises(VoxpickError, match=expected) as error:
        load_models(path)
    assert str(error.value).startswith(f"{path}: ") and str(error.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("classes", [0, 1], "classes are \\[0, 1\\]"), ("classes", "ab", "classes are 'ab'"),
        ("classes", ["background"], "the network tells 2 apart"),
        ("classes", ["background", "a", "b"], "background, a, b, but the network tells 2 apart"),
        ("classes", ["a", "a"], "classes are a, a, but"),
        ("voxel_size", "10", "voxel size is '10'"), ("voxel_size", float("nan"), "voxel size is nan"),
        ("voxel_size", None, "voxel size is None"), ("voxel_size", -10.0, "voxel size is -10"),
        ("spectrum", [float("nan")] * 24, "no list of finite numbers"), ("spectrum", "abc", "no list of finite"),
        ("spectrum", [], "no list of finite"), ("spectrum", [1.0, -1.0], "an amplitude of -1"),
    ],
)  # fmt: skip
def test_what_stands_beside_the_weights_is_looked_at(model, key, value, expected):
    """Each of these ended in a traceback in the middle of a detection, or was taken as it is."""
    data = torch.load(model, weights_only=True)
    data["parts"]["localizer"][key] = value
    refused(model, data, f"damaged voxpick model file .of localizer: .*{expected}")


def test_parts_without_names_and_complex_weights(model):
    data = torch.load(model, weights_only=True)
    refused(model, {**data, "parts": {5: data["parts"]["localizer"]}}, "of 5: parts have names")
    part = data["parts"]["localizer"]
    part["state"] = {key: value.to(torch.complex64) for key, value in part["state"].items()}
    refused(model, data, "its weights are complex numbers")


def test_a_spectrum_of_another_length_is_refused():
    volume = Volume(torch.randn(48, 48, 48, generator=torch.Generator().manual_seed(0)).numpy(), 10.0)
    with pytest.raises(VoxpickError, match="has 3 amplitudes in place of 24"):
        gains_needed(volume, slice(None), [1.0] * 3, mean=0.0, deviation=1.0)


def test_a_method_of_another_version_is_named_with_its_file(model):
    parts = load_models(model)
    parts["localizer"].provenance["method"] = "nonsense"
    with pytest.raises(VoxpickError, match=r"^here\.pt: its localizer was trained by the method 'nonsense', which"):
        method_of(parts, source="here.pt")


class _Code:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


def test_code_in_a_file_is_not_run_and_nothing_but_the_error_is_said(tmp_path):
    place, path = tmp_path / "written_by_code", tmp_path / "model.pt"
    for number, content in enumerate((pickle.dumps(_Code(place)), b"")):
        path.write_bytes(content)
        if number:
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
        with warnings.catch_warnings(record=True) as told:  # torch has some for files of either kind
            warnings.simplefilter("always")
            with pytest.raises(VoxpickError, match=r"model\.pt: not a voxpick model file"):
                load_models(path)
        assert not told
    assert not place.exists()


def test_a_checkpoint_with_one_bit_changed_is_not_gone_on_from(tmp_path):
    """torch.load does not look at checksums, so weights that a disk has changed were trained further."""
    run = RunDirectory(tmp_path / "run")
    weights = torch.linspace(-1, 1, 4096)
    run.save_checkpoint({"progress": {"step": 3}, "network": {"weights": weights}})
    content = bytearray(run.checkpoint_path.read_bytes())
    place = content.index(weights.numpy().tobytes()) + 5000
    content[place] ^= 1
    run.checkpoint_path.write_bytes(content)
    with pytest.raises(VoxpickError, match=r"checkpoint\.pt: a damaged training checkpoint .*fails its checksum"):
        run.load_checkpoint()
