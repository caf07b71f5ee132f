"""Peaks of a heat map: places below a voxel, names, tiles that leave no seam, turns."""

import math
import time
import warnings
from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
import torch

from voxpick.detect.budget import SPARE_BYTES
from voxpick.detect.centre_peaks import detect_centres, evaluate, peaks
from voxpick.detect.centre_tiles import best_sides, tile_windows
from voxpick.detect.memory import settled_bytes
from voxpick.detect.scan_settings import CentreSettings
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.networks.picknet import PickNet
from voxpick.volume import Volume


class Marker(torch.nn.Module):
    """Heat from the mean of 2 x 2 x 2 voxels; offsets by brightness; of two names the first where x is small."""

    multiple_of = 4

    def forward(self, x):
        mean = torch.nn.functional.avg_pool3d(x, 2)
        logit = 4 * mean - 6
        side = torch.linspace(4, -4, mean.shape[4]).expand_as(mean)
        return torch.cat([logit, 0.25 * mean, -0.25 * mean, 0 * mean, side, -side], 1)


def spots(shape, places, height=3.0):
    data = np.zeros(shape, np.float32)
    for z, y, x in places:
        data[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = height
    return data


PLACES = [(2, 3, 4), (5, 9, 2), (8, 4, 14), (3, 12, 15)]


def test_a_peak_is_the_middle_of_its_voxel_moved_by_the_offset_and_named_there():
    output = evaluate(Marker(), torch.from_numpy(spots((20, 28, 36), PLACES))[None, None])
    assert output.shape == (6, 10, 14, 18)
    whole = tuple(slice(0, n) for n in output.shape[1:])
    found = peaks(output, whole, threshold=0.5, first=(100, 0, 8))
    order = np.lexsort(found.centers.T[::-1])
    expected = 2 * np.array(sorted(PLACES)) + 0.5 + [0.75, -0.75, 0] + [100, 0, 8]
    assert np.allclose(found.centers[order], expected, atol=1e-2)
    assert found.names[order].argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert np.allclose(found.names.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(found.heights, 1 / (1 + np.exp(-6)), atol=1e-2)


def test_a_name_is_the_mean_around_the_peak_by_height_and_offsets_end_after_a_voxel():
    output = torch.zeros(6, 5, 6, 7)
    output[0, 2, 3, 4], output[0, 2, 3, 5], output[0, 1, 2, 3] = 0.8, 0.4, 0.2
    output[4:, 2, 3, 4], output[4:, 2, 3, 5] = torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75])
    output[4:, 1, 2, 3], output[4:, 2, 4, 4] = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])
    output[1:4, 2, 3, 4] = torch.tensor([5.0, -0.5, -9.0])
    found = peaks(output, (slice(0, 5), slice(0, 6), slice(0, 7)), threshold=0.3, first=(0, 0, 0))
    assert found.centers.tolist() == [[4.5 + 2, 6.5 - 0.5, 8.5 - 2]]
    assert found.names[0] == pytest.approx(np.array([0.8 * 1 + 0.4 * 0.25, 0.4 * 0.75 + 0.2]) / 1.4)


@pytest.mark.parametrize("shape", [(20, 28, 36), (64, 40, 72), (33, 100, 41)])
@pytest.mark.parametrize("halo", [0, 6, 8, 12])
@pytest.mark.parametrize("multiple", [2, 4, 16])
def test_tiles_keep_every_output_voxel_once_and_stay_away_from_their_sides(shape, halo, multiple):
    sides = best_sides(shape, 64**3 / 2, halo, multiple=multiple)
    counts = np.zeros([-(-n // multiple) * multiple // 2 for n in shape], int)
    padded = 2 * np.array(counts.shape)
    for first, core in tile_windows(shape, sides, halo, multiple=multiple):
        assert all(f % multiple == 0 for f in first)
        for axis in range(3):
            before, after = 2 * core[axis].start, sides[axis] - 2 * core[axis].stop
            assert first[axis] == 0 or before >= halo
            assert first[axis] + sides[axis] == padded[axis] or after >= halo
        counts[tuple(slice(f // 2 + c.start, f // 2 + c.stop) for f, c in zip(first, core, strict=True))] += 1
    assert (counts == 1).all()


@pytest.mark.parametrize("voxels", [50**3, 120**3, 10**9])
@pytest.mark.parametrize("halo", [0, 12, 16])
def test_sides_are_the_best_of_all(voxels, halo):
    shape, multiple = (90, 204, 250), 8
    overlap, padded = -(-2 * halo // multiple) * multiple, [-(-n // multiple) * multiple for n in shape]

    def cost(sides):
        if any(side <= overlap and side < n for side, n in zip(sides, padded, strict=True)):
            return math.inf
        steps = [max(side - overlap, 1) for side in sides]
        return math.prod((1 + -(-(n - a) // b)) * a for n, a, b in zip(padded, sides, steps, strict=True))

    every = product(*(range(multiple, n + 1, multiple) for n in padded))
    best = min((cost(sides), sides) for sides in every if math.prod(sides) <= voxels)
    assert best_sides(shape, voxels, halo, multiple=multiple) == best[1]


def test_sides_for_a_large_volume_are_chosen_at_once():
    """All combinations took seconds, as much as the rest of a detection on a GPU."""
    begun = time.perf_counter()
    assert best_sides((800, 2000, 2000), 144**3, 16, multiple=8) == (160, 136, 136)
    assert time.perf_counter() - begun < 2


class Corners(torch.nn.Module):
    """A sure centre in the first and the last output voxel, two voxels beyond; the first is an a, the last a b."""

    def __init__(self, offset=2.0):
        super().__init__()
        self.offset = torch.tensor([offset, 2.0, 2.0])

    def forward(self, x):
        output = torch.zeros(1, 6, *(n // 2 for n in x.shape[2:]))
        output[:, 0] = -9
        for corner, sign in ((0, -1), (-1, 1)):
            output[:, 0, corner, corner, corner] = 9
            output[:, 1:4, corner, corner, corner] = self.offset * sign
            output[:, 4, corner, corner, corner] = -3.0 * sign
        return output


def detected(network, settings, *, shape=(24, 28, 36), voxel_size=10.0):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    model = Model("corners", {}, network, ["background", "a", "b"], 10.0)
    found = detect_centres(Volume(data, voxel_size), model, settings=settings, device="cpu").particles
    return found[np.argsort(found.centers_zyx[:, 0])]


@pytest.mark.parametrize(
    ("slab", "offset", "z"), [("4:20", -0.5, [5, 18]), ("off", 2.0, [0, 23]), ("off", 0.0, [0.5, 22.5])]
)
def test_centres_lie_within_the_volume_from_the_slab_on_and_bear_their_names(slab, offset, z):
    found = detected(Corners(offset), CentreSettings(slab=slab, turns=False))
    assert found.centers_zyx.tolist() == [[10 * z[0], 0, 0], [10 * z[1], 270, 350]]
    assert found.classes.tolist() == ["a", "b"]


class Everywhere(torch.nn.Module):
    """Centres in the middle of some output voxels; sides are to be multiples of 8."""

    multiple_of = 8

    def forward(self, x):
        output = torch.zeros(1, 6, *(n // 2 for n in x.shape[2:]))
        output[:, 0] = -9
        output[:, 0, ::3, 3::4, ::4] = 9
        return output


@pytest.mark.parametrize("slab", ["8:11", "8:10", "3:21", "0:2", "5:24"])
@pytest.mark.parametrize("voxel_size", [10.0, 20.0])
def test_no_centre_lies_outside_of_the_sections_asked_for(slab, voxel_size):
    """Tiles have sides that the network can take, so they end in sections that were not asked for."""
    start, stop = (int(part) for part in slab.split(":"))
    settings = CentreSettings(slab=slab, turns=False, minimum_distance=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = detected(Everywhere(), settings, shape=(24, 27, 36), voxel_size=voxel_size)
    z = found.centers_zyx[:, 0] / voxel_size
    assert len(z) > 0 and z.min() >= start - 0.5 and z.max() < stop - 0.5
    y = found.centers_zyx[:, 1] / 10
    assert np.allclose(y % 8, 6.5), "of voxels beyond the faces none was moved onto them"


def test_no_side_fits_around_a_large_halo():
    assert best_sides((64, 64, 64), 32**3, 24, multiple=8) is None


def toy(seed=0, shape=(24, 44, 52)):
    torch.manual_seed(seed)
    network = PickNet(classes=3, stem=4, widths=(8, 12), blocks=(1, 1), centres=0.3).eval()
    torch.nn.init.normal_(network.picks.weight, std=0.5)
    model = Model("picknet", {}, network, ["background", "a", "b"], 10.0)
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Volume(data, 10.0, "toy"), model


def test_tiled_equals_whole_when_the_halo_holds_the_receptive_field(monkeypatch):
    monkeypatch.setattr("voxpick.detect.centre_peaks.choose_dtype", lambda device, network: torch.float32)
    volume, model = toy(shape=(24, 44, 140))
    common = {"slab": "off", "minimum_distance": 0.0, "threshold": 0.3, "engine": "torch"}
    whole = detect_centres(volume, model, settings=CentreSettings(tile=160, **common), device="cpu").particles
    tiled = detect_centres(volume, model, settings=CentreSettings(tile=46, halo=32, **common), device="cpu").particles
    assert len(whole) > 30 and len(whole) == len(tiled)
    for particles in (whole, tiled):
        assert (particles.scores[:-1] >= particles.scores[1:]).all()
    order = [np.lexsort(np.round(p.centers_zyx, 2).T[::-1]) for p in (whole, tiled)]
    assert np.allclose(whole.centers_zyx[order[0]], tiled.centers_zyx[order[1]], atol=0.05)


def test_turning_the_tomogram_turns_the_picks_when_turns_are_averaged(monkeypatch):
    monkeypatch.setattr("voxpick.detect.centre_peaks.choose_dtype", lambda device, network: torch.float32)
    volume, model = toy(1, shape=(24, 40, 48))
    settings = CentreSettings(slab="off", turns=True, threshold=0.3, engine="torch")
    found = detect_centres(volume, model, settings=settings, device="cpu").particles
    turned = volume.with_data(np.ascontiguousarray(volume.data[::-1, :, ::-1]))
    again = detect_centres(turned, model, settings=settings, device="cpu").particles
    centers = again.centers_zyx.copy()
    centers[:, [0, 2]] = (np.array([23, 47]) * 10.0) - centers[:, [0, 2]]
    assert len(found) == len(again) > 5
    for center in found.centers_zyx:
        assert np.linalg.norm(centers - center, axis=1).min() < 0.1


def test_noise_everywhere_is_refused_with_a_way_out():
    torch.manual_seed(0)
    heat = torch.rand(1, 16, 16, 16).repeat_interleave(1, dim=1)
    output = torch.cat([heat, torch.zeros(3, 16, 16, 16), torch.full((2, 16, 16, 16), 0.5)])
    output[0, ::2, ::2, ::2] += 1
    with pytest.raises(VoxpickError, match="raise the threshold"):
        peaks(output, (slice(0, 16),) * 3, threshold=0.1, first=(0, 0, 0))


class Keeping(Marker):
    """Keeps 2^28 bytes from its first evaluation on, as convolutions keep their weights in another order."""

    kept = None

    def forward(self, x):
        if self.kept is None:
            self.kept = torch.ones(2**26)
        return super().forward(x)


def test_what_a_network_keeps_counts_as_memory():
    noise = np.random.default_rng(0).normal(scale=0.1, size=(24, 28, 36)).astype(np.float32)
    volume = Volume(spots(noise.shape, PLACES) + noise, 10.0)
    for more, fits in ((2**27, False), (2**29, True)):
        model = Model("keeping", {}, Keeping(), ["background", "a", "b"], 10.0)
        settings = CentreSettings(slab="off", halo=8, max_memory=str(settled_bytes() + SPARE_BYTES + more))
        with nullcontext() if fits else pytest.raises(VoxpickError, match="no tile fits around a halo of 8"):
            assert len(detect_centres(volume, model, settings=settings, device="cpu").particles) >= len(PLACES)
        del model


def test_memory_that_was_freed_goes_back_between_tiles(monkeypatch):
    volume, model = toy(shape=(24, 44, 140))
    asked = []
    monkeypatch.setattr("voxpick.detect.centre_peaks.settle_above", asked.append)
    settings = CentreSettings(slab="off", tile=46, max_memory="16G", threshold=0.3)
    detect_centres(volume, model, settings=settings, device="cpu")
    assert len(asked) > 1 and set(asked) == {2**34 - SPARE_BYTES}
