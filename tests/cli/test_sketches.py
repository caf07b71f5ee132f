"""Sketches of tomograms: alike when made again with other rounding or noise, unlike of another specimen."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from voxpick.cli.sketches import is_alike, sketch
from voxpick.volume import Volume


def tomogram(*, specimen, noise, shape=(40, 96, 112)):
    """Correlated density under nine times as much white noise: about as alike under other noise as SHREC'20's are."""
    density = gaussian_filter(np.random.default_rng(specimen).normal(size=shape), 4)
    white = np.random.default_rng(noise).normal(size=shape)
    return Volume((density / density.std() / 9 + white).astype(np.float32), 10.0)


def test_the_same_with_other_noise_or_rounding_is_alike():
    before = tomogram(specimen=1, noise=1)
    rounded, noisy = before.with_data(before.data * np.float32(1 + 1e-5)), tomogram(specimen=1, noise=2)
    for drawn_on in ("cpu", "cuda", None):
        assert is_alike(sketch(before, drawn_on), sketch(rounded, drawn_on))
    for kinds in (("cpu", "cuda"), ("cuda", "cuda"), ("cpu", None)):
        assert is_alike(sketch(before, kinds[0]), sketch(noisy, kinds[1]))
    assert not is_alike(sketch(before, "cpu"), sketch(noisy, "cpu"))


@pytest.mark.parametrize(
    "change",
    [
        lambda volume: tomogram(specimen=2, noise=2),
        lambda volume: volume.with_data(-volume.data),
        lambda volume: volume.with_data(volume.data + 1),
        lambda volume: volume.with_data(gaussian_filter(volume.data, 1)),
        lambda volume: volume.with_data(volume.data[:, ::-1]),
        lambda volume: volume.with_data(volume.data[:, :, :64]),
    ],
)
@pytest.mark.parametrize("drawn_on", ["cpu", "cuda"])
def test_another_is_not(change, drawn_on):
    before = tomogram(specimen=1, noise=1)
    assert not is_alike(sketch(before, drawn_on), sketch(change(before), drawn_on))


def test_thin_and_flat_volumes_have_sketches():
    for shape in ((1, 5, 7), (3, 17, 40)):
        flat = Volume(np.full(shape, 2.0, np.float32), 10.0)
        assert is_alike(sketch(flat), sketch(flat))
        assert not is_alike(sketch(flat), sketch(flat.with_data(flat.data + np.arange(shape[2], dtype=np.float32))))
