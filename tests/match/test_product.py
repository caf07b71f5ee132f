"""The largest value of every column of a product, in every number format."""

import pytest
import torch

from voxpick.match import product
from voxpick.match.product import FORMS, choose_form, kept_dtype, make_largest


@pytest.mark.parametrize(("form", "error"), [("float32", 1e-5), ("bfloat16", 0.06), ("int8", 0.1)])
def test_it_is_the_maximum_of_the_whole_product(form, error, monkeypatch):
    for name, size in (("ROWS", 20), ("PLACES", 32), ("FLOAT_ROWS", 10), ("FLOAT_PLACES", 20)):
        monkeypatch.setattr(product, name, size)
    generator = torch.Generator().manual_seed(0)
    a, u = torch.randn(53, 16, generator=generator), torch.randn(16, 107, generator=generator)
    u[:, 40] *= 100  # a place of high score costs the others nothing
    u[:, 41] = 0
    found = make_largest(a, form)(u.to(kept_dtype(form)))
    expected = (a @ u).amax(dim=0)
    size = u.abs().amax(dim=0).clamp(min=1e-9)
    assert found.dtype == torch.float32 and found.shape == (107,) and found[41] == 0
    assert ((found - expected).abs() / size).max() < error
    assert found[40] > 30


def test_the_form_suits_the_processor(monkeypatch):
    assert choose_form(torch.device("cpu")) in FORMS
    monkeypatch.setattr(product, "has_int8_dot_products", lambda: False)
    monkeypatch.setattr(product, "choose_dtype", lambda device: torch.float32)
    assert choose_form(torch.device("cpu")) == "float32"
