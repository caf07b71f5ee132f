import warnings

import numpy as np
import pytest

from voxpick.detect.prepare import CLEARLY_SKEWED, prepare
from voxpick.detect.settings import DetectSettings
from voxpick.detect.slab import Slab, choose_slab, find_slab, section_skewness
from voxpick.errors import VoxpickError
from voxpick.volume import Volume

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


def skewed(**sections: float) -> np.ndarray:
    """Skewness (192, 2, 3) of noise, and -0.5 in sections 64 to 127; more in sections a_b."""
    found = np.random.default_rng(0).normal(scale=0.01, size=(192, 2, 3))
    found[64:128] -= 0.5
    for name, value in sections.items():
        first, end = (int(part) for part in name[1:].split("_"))
        found[first:end] += value
    return found


def test_edges_lie_where_the_skewness_begins_and_ends():
    slab = find_slab(skewed(), margin=16)
    assert (slab.start, slab.stop, slab.ice) == (48, 144, (60, 132))
    assert (find_slab(skewed(), margin=0).start, find_slab(-skewed(), margin=0).stop) == (64, 128)
    # a bin that reaches a quarter belongs to it, and one that does with the next one
    assert find_slab(skewed(s56_64=-0.2), margin=16).start == 40
    assert find_slab(skewed(s56_64=-0.05, s48_56=-0.3), margin=16).start == 32
    assert find_slab(skewed(s56_64=-0.05, s48_56=-0.1), margin=16).start == 48
    assert find_slab(skewed(s128_136=-0.2), margin=16).stop == 152
    assert find_slab(skewed(s128_136=-0.05, s136_144=-0.3), margin=16).stop == 160


@pytest.mark.parametrize("sign", [1, -1])
def test_nothing_is_cut_where_32_sections_or_a_cell_of_them_are_skewed_beyond_the_margin(sign):
    assert find_slab(skewed(s150_190=sign * 0.1), margin=16).stop == 144
    assert find_slab(skewed(s150_190=sign * 0.25), margin=16).stop == 192
    one_cell = skewed()
    one_cell[150:190, 0, 0] += sign * 0.25
    assert find_slab(one_cell, margin=16).stop == 144
    one_cell[150:190, 0, 0] += sign * 0.25
    assert find_slab(one_cell, margin=16).stop == 192


def dotted(sign: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(96, 64, 72)).astype(np.float32)
    for z, y, x in zip(*(rng.integers(4, n - 4, size=60) for n in data.shape), strict=True):
        data[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] += sign * 2.5
    return data


def test_the_contrast_is_told_by_the_sign_of_the_skewness(recwarn):
    expected = {(1, False): "add --invert", (-1, True): "leave --invert out", (1, True): "", (-1, False): ""}
    for (sign, invert), told in expected.items():
        recwarn.clear()
        volume = Volume(5 + 3 * dotted(sign), 10.0, name="dots")
        prepare(volume, 10.0, DetectSettings(invert=invert))
        messages = [str(warning.message) for warning in recwarn.list]
        assert [m.startswith("dots: particles seem") and m.endswith(told) for m in messages] == [True] * bool(told)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("voxel_size", [10.0, 12.0])
def test_values_that_are_no_numbers_are_refused_without_warnings_of_numpy(value, voxel_size):
    data = dotted(-1)
    data[20, 30, 40] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(VoxpickError, match=r"NaN or infinite values, .* at z 20, y 30, x 40"):
            prepare(Volume(data, voxel_size, name="dots"), 10.0, DetectSettings())


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_contrast_of_a_small_tomogram_is_told_too(recwarn, sign):
    """Some 96 voxels a side with few particles were skewed by 4 standard errors, and nobody was told."""
    rng = np.random.default_rng(5)
    data = rng.normal(size=(96, 96, 96)).astype(np.float32)
    for z, y, x in zip(*(rng.integers(4, 92, size=16) for _ in range(3)), strict=True):
        data[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] += sign * 2.5
    assert 4.1 < sign * choose_slab(data, "auto").skewed < 4.5
    prepare(Volume(data, 10.0, name="dots"), 10.0, DetectSettings(invert=sign < 0))
    assert ["dots: particles seem" in str(warning.message) for warning in recwarn.list] == [True]


def test_noise_tells_no_contrast():
    found = [choose_slab(np.random.default_rng(k).normal(size=(96, 64, 64)), "auto").skewed for k in range(200)]
    assert (np.abs(found) > CLEARLY_SKEWED).mean() <= 0.01 and np.abs(found).max() < 4.5
    assert choose_slab(np.zeros((96, 8, 8)), "off").skewed == 0


def test_on_another_grid_the_slab_is_covered_and_ends_with_the_volume():
    assert Slab(10, 35, "told").on_grid(0.7, 100) == slice(7, 25)
    assert Slab(11, 35, "told").on_grid(2.0, 60) == slice(22, 60)
