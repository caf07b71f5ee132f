import numpy as np
import pytest

from voxpick.detect.slab import choose_slab, find_slab, section_skewness
from voxpick.errors import VoxpickError

SHAPE = (192, 120, 200)


def tomogram(*, tilt: int = 0, width: int = 200) -> np.ndarray:
    """Gaussian noise with faint dark spots in sections 60 to 129, a slab that climbs by `tilt` sections along x."""
    rng = np.random.default_rng(0)
    shape = (*SHAPE[:2], width)
    data = rng.normal(size=shape).astype(np.float32)
    z, _, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    low = 60 + tilt * (x / width - 0.5)
    ice = (z >= low) & (z < low + 70)
    data[ice & (rng.random(shape) < 0.03)] -= 2.0
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


def test_what_lies_above_level_ice_is_told_from_what_lies_in_it():
    slab = choose_slab(tomogram(width=480), "auto", margin=16)
    assert slab.ice is not None
    assert 60 - 12 <= slab.ice[0] <= 60 and 129 <= slab.ice[1] <= 129 + 12
    assert slab.holds(np.array([60.0, 129.0])).all()
    assert not slab.holds(np.array([47.0, 142.0])).any()


def test_nothing_is_dropped_from_tilted_ice_or_where_the_ice_is_not_known():
    beyond = np.array([1.0, 190.0])
    assert choose_slab(tomogram(tilt=100, width=480), "auto", margin=16).holds(beyond).all()
    assert choose_slab(tomogram(), "auto", margin=16).holds(beyond).all()
    assert choose_slab(tomogram(), "50:140").holds(beyond).all()


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
