import numpy as np
import pytest

from voxpick.detect.slab import choose_slab, find_slab, section_skewness
from voxpick.errors import VoxpickError

SHAPE = (192, 120, 200)


def tomogram(*, tilt: int = 0) -> np.ndarray:
    """Gaussian noise with faint dark spots in sections 60 to 129, a slab that climbs by `tilt` sections along x."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=SHAPE).astype(np.float32)
    z, _, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    low = 60 + tilt * (x / SHAPE[2] - 0.5)
    ice = (z >= low) & (z < low + 70)
    data[ice & (rng.random(SHAPE) < 0.03)] -= 2.0
    return data


def test_the_ice_is_found_within_the_margin_and_never_cut():
    slab = choose_slab(tomogram(), "auto", margin=16)
    assert 60 - 16 - 8 <= slab.start <= 60 - 8 and 130 + 8 <= slab.stop <= 130 + 16 + 8


def test_without_vacuum_or_without_ice_all_is_searched():
    data = tomogram()
    for part in (data[64:128], data[:60], np.zeros_like(data)):
        slab = choose_slab(part, "auto")
        assert (slab.start, slab.stop) == (0, len(part))


def test_a_tilted_slab_is_not_cut():
    slab = choose_slab(tomogram(tilt=60), "auto", margin=16)
    assert slab.start <= 34 and slab.stop >= 156


def test_it_may_be_set_or_switched_off():
    data = np.zeros(SHAPE, dtype=np.float32)
    assert (choose_slab(data, "off").start, choose_slab(data, "off").stop) == (0, 192)
    assert (choose_slab(data, "50:140").start, choose_slab(data, "50:140").stop) == (50, 140)
    for wrong in ("on", "50", "140:50", "0:193"):
        with pytest.raises(VoxpickError, match="slab"):
            choose_slab(data, wrong)


def test_the_skewness_of_gamma_noise_is_twice_the_root_of_its_inverse_shape():
    data = np.random.default_rng(0).gamma(4.0, size=(16, 120, 200)).astype(np.float32)
    assert section_skewness(data).mean() == pytest.approx(1.0, abs=0.02)
    assert find_slab(section_skewness(data)).stop == 16
