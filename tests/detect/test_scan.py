"""Scans by networks that name boxes: tiles equal boxes, memory, thinning out, consensus, and both detectors."""

import numpy as np
import pytest
import torch

from voxpick.detect.consensus import (
    Agreement,
    Clusters,
    agreement,
    allowed,
    best_rows,
    box_halves,
    checked,
    clusters,
    detect_consensus,
)
from voxpick.detect.memory import LiveBytes
from voxpick.detect.peaks import Places, confident, detect_peaks, spaced
from voxpick.detect.prepare import prepare
from voxpick.detect.scan import best_counts, make_grid, peak_bytes_of, plan_scan, scan
from voxpick.detect.scan_settings import CentreSettings, ConsensusSettings, PeakSettings, make_scan_settings
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.networks.resnet3d import ResNet3D
from voxpick.networks.yopo import YOPO
from voxpick.volume import Volume

CPU, GIGA = torch.device("cpu"), 2**30
SHAPE = (12, 20, 28)


class DarkMiddle(torch.nn.Module):
    """Background unless the middle of a box of 6 is dark: class 1 below -0.7, class 2 below -2, by a mean of 3^3."""

    box, multiple_of = 6, 1

    def scan(self, x, *, stride=1):
        mean = torch.nn.functional.avg_pool3d(x.float(), 3, 1)[:, :, 2:-1, 2:-1, 2:-1]
        dark = -mean[:, :, ::stride, ::stride, ::stride]
        return torch.cat([torch.zeros_like(dark), 20 * (dark - 0.7), 40 * (dark - 1.35)], 1)


def dark_model(**detection):
    return Model("dark", {}, DarkMiddle(), ["background", "light", "heavy"], 10.0, detection)


def volume_with(places, depths, *, side=2):
    data = np.zeros(SHAPE, np.float32)
    for (z, y, x), depth in zip(places, depths, strict=True):
        data[z - side : z + side + 1, y - side : y + side + 1, x - side : x + side + 1] = -depth
    data += 0.01 * np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return Volume(data / data[3:9, 5:15, 7:21].std(), 10.0, "toy")


@pytest.mark.parametrize(("stride", "tile"), [(1, 14), (2, 13), (3, 100)])
def test_tiles_equal_the_box_around_every_place(stride, tile):
    torch.manual_seed(0)
    network = YOPO(classes=3, box=8, widths=[4, 6], hidden=5).eval()
    data = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    ready = prepare(Volume(data, 10.0), 10.0, PeakSettings(slab="2:11"))
    grid = make_grid(ready, stride)
    assert grid.counts == tuple(-(-n // stride) for n in (9, 20, 28))
    found = np.full((3, *grid.counts), np.nan, np.float32)
    for window, scores in scan(ready, network, grid, tile=tile, max_memory=6 * GIGA, device=CPU, dtype=torch.float32):
        found[:, *window] = scores
    padded = np.pad((data - ready.mean) / ready.deviation, 8)
    for place in [(0, 0, 0), (grid.counts[0] - 1, 1, grid.counts[2] - 1), (1, 3, 4)]:
        z, y, x = (grid.voxels(np.array(place)) + 8 - 4).astype(int)
        box = torch.from_numpy(padded[z : z + 8, y : y + 8, x : x + 8].astype(np.float32))[None, None]
        with torch.no_grad():
            assert found[:, *place] == pytest.approx(network(box)[0].numpy(), abs=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("network", [YOPO(classes=3, box=12, widths=[4, 16, 4]), ResNet3D(box=16, padded=True)])
def test_memory_counted_without_memory_is_that_of_a_real_scan(network):
    sides = [18, 20, 24]
    network.eval()
    with LiveBytes() as count, torch.inference_mode():
        network.scan(torch.zeros(1, 1, *sides), stride=2)
    expected = 1.2 * count.most + 8 * 18 * 20 * 24
    assert peak_bytes_of(network, sides, 2, torch.float32) == pytest.approx(expected, rel=0.01)


def test_less_memory_makes_smaller_tiles_and_too_little_is_said():
    network, arguments = YOPO(), {"tile": 224, "device": CPU, "dtype": torch.float32}
    from voxpick.detect.memory import resident_bytes

    base = resident_bytes() + 2**27
    large = plan_scan(network, (200, 128, 512), 1, max_memory=base + 6 * GIGA, **arguments)
    small = plan_scan(network, (200, 128, 512), 1, max_memory=base + GIGA, **arguments)
    assert np.prod(small) < np.prod(large)
    assert peak_bytes_of(network, [n + 23 for n in small], 1, torch.float32) <= GIGA + 2**27
    with pytest.raises(VoxpickError, match=r"max_memory is 0\.\dG; .* are taken before the first tile"):
        plan_scan(network, (200, 128, 512), 1, max_memory=2**27, **arguments)


def test_tiles_with_the_fewest_voxels():
    assert best_counts((40, 10, 10), 1, 5, 10**6) == (40, 10, 10)
    z, y, x = best_counts((40, 10, 10), 1, 5, 24 * 14 * 14)
    assert (z, y, x) == (20, 10, 10)


def test_confident_places_by_odds():
    scores = np.zeros((3, 1, 1, 2), np.float32)
    scores[:, 0, 0, 1] = [0.0, np.log(30), np.log(90)]
    found = confident(scores, (5, 6, 7), threshold=0.99)
    assert found.places.tolist() == [[5, 6, 8]] and found.labels.tolist() == [2]
    assert np.exp(found.odds) == pytest.approx([120], rel=1e-5) and found.shares == pytest.approx([0.75])
    assert len(confident(scores, (0, 0, 0), threshold=0.993)) == 0


def test_picks_keep_the_distance_and_ties_give_their_middle():
    places = np.array([[0, 0, 0], [0, 0, 14], [0, 0, 29], [0, 0, 30], [0, 0, 31]])
    found = Places(places, np.array([9, 8, 7, 7, 7.0]), np.ones(5, np.uint8), np.ones(5))
    rows, centers = spaced(found, distance=14)
    assert rows.tolist() == [0, 2] and centers.tolist() == [[0, 0, 0], [0, 0, 30]]


def test_a_place_that_a_better_one_took_is_in_no_other_middle():
    """10 is as good as 20 and near it, but belongs to 0."""
    places = np.array([[0, 0, 0], [0, 0, 10], [0, 0, 20]])
    rows, centers = spaced(Places(places, np.array([9.0, 7, 7]), np.ones(3, np.uint8), np.ones(3)), distance=12)
    assert rows.tolist() == [0, 2] and centers.tolist() == [[0, 0, 0], [0, 0, 20]]


@pytest.mark.parametrize("background", [True, False])
def test_agreement_counts_as_a_plain_loop(background):
    rng = np.random.default_rng(4)
    labels, halves = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8), [0, 1, 2, 1]
    found = agreement(labels, halves, background=background)
    assert len(found.places) == (labels > 0).sum()
    for place, own, count, agrees in zip(found.places, found.labels, found.counts, found.agrees, strict=True):
        low = np.maximum(place - halves[own], 0)
        z, y, x = (slice(a, b) for a, b in zip(low, place + halves[own] + 1, strict=True))
        counts = np.bincount(labels[z, y, x].ravel(), minlength=4)
        most = counts[0 if background else 1 :].max()
        assert own == labels[tuple(place)] and count == counts[own] and agrees == (counts[own] == most)


def test_labels_that_another_outnumbers_are_taken_out_before_the_rest_is_counted():
    labels = np.zeros((3, 3, 9), np.uint8)
    labels[1, 1] = [1, 1, 1, 2, 1, 0, 0, 2, 2]
    left = checked(labels, [0, 1, 2], free=np.zeros(3, bool), background=False)
    assert left[1, 1].tolist() == [1, 1, 1, 0, 1, 0, 0, 2, 2]
    assert checked(labels, [0, 1, 2], free=np.array([False, False, True]), background=False)[1, 1, 3] == 2
    kept = agreement(left, [0, 1, 2], background=False)
    assert kept.counts.tolist() == [2, 3, 2, 1, 2, 2]


def test_clusters_and_the_best_of_each_class():
    labels = np.zeros((4, 5, 9), np.uint8)
    labels[1, 1:4, 2], labels[1, 1:3, 3], labels[3, 3, 6:9] = 1, 2, 1
    places = np.argwhere(labels)
    found = Agreement(places, labels[tuple(places.T)], np.arange(len(places)), np.ones(len(places), bool))
    groups = clusters(found, [0, 2, 2])
    by_size = sorted(zip(groups.labels.tolist(), groups.sizes.tolist(), groups.centers.tolist(), strict=True))
    assert by_size == [(1, 3, [1, 2, 2]), (1, 3, [3, 3, 7]), (2, 2, [1, 1.5, 3])]
    rows = best_rows(groups, [0, 1, 5])
    assert groups.labels[rows].tolist() == [1, 2] and groups.counts[rows[0]] == len(places) - 1


def test_of_equal_counts_the_larger_cluster_is_taken():
    ones = np.ones(3, dtype=np.int64)
    assert best_rows(Clusters(np.zeros((3, 3)), ones, 5 * ones, np.array([2, 7, 3])), [0, 2]).tolist() == [1, 2]


def test_touching_particles_of_one_class_are_clusters_of_their_own():
    labels = np.zeros((5, 6, 16), dtype=np.uint8)
    labels[1:4, 1:4, 1:4], labels[1:4, 1:4, 4:7] = 1, 1
    found = agreement(labels, [0, 1], background=True)
    groups = clusters(found, [0, 1])
    best = best_rows(groups, [0, 2])
    assert groups.counts[best].tolist() == [27, 27]
    assert np.ptp(groups.centers[best][:, 2]) >= 2 and groups.sizes.sum() == 54


def test_numbers_by_class_ratio_and_boxes_in_places():
    settings = ConsensusSettings(class_ratios={"a": 0.75, "b": 0.25}, density=1e-3, thickness=50.0, box_sizes={"a": 90})
    classes = ["background", "a", "b"]
    assert allowed(classes, settings, area=4e4, height=80.0) == [0, 30, 10]
    assert allowed(classes, settings, area=4e4, height=25.0) == [0, 15, 5]
    assert box_halves(classes, settings, spacing=20.0) == [0, 2, 2]
    with pytest.raises(VoxpickError, match="class_ratios is empty"):
        allowed(classes, ConsensusSettings(), area=1.0, height=1.0)


def test_peaks_of_a_toy_tomogram():
    volume = volume_with([(6, 6, 7), (5, 13, 20)], [1, 3])
    picks = detect_peaks(
        volume, dark_model(), settings=PeakSettings(minimum_distance=70, threshold=0.9, slab="off"), device="cpu"
    )
    order = np.argsort(picks.particles.centers_zyx[:, 2])
    assert picks.particles.classes[order].tolist() == ["light", "heavy"]
    assert np.abs(picks.particles.centers_zyx[order] / 10 - [[6, 6, 7], [5, 13, 20]]).max() <= 1
    with pytest.raises(VoxpickError, match=r"finds . centres without segmenting voxels"):
        _ = picks.segmentation


@pytest.mark.parametrize(("least", "number"), [(70, 2), (140, 1)])
def test_the_least_distance_of_peaks_is_in_angstrom_whatever_the_stride(least, number):
    settings = PeakSettings(minimum_distance=least, threshold=0.9, slab="off", stride=2)
    picks = detect_peaks(
        volume_with([(6, 6, 8), (6, 6, 18)], [1.5, 3]), dark_model(), settings=settings, device="cpu"
    ).particles
    assert len(picks) == number and "heavy" in picks.classes
    assert picks.scores == pytest.approx(picks.location_scores * picks.class_scores)
    assert (picks.location_scores > 0.9).all() and picks.class_scores.max() > 0.5


def test_consensus_on_a_toy_tomogram():
    volume = volume_with([(6, 6, 7), (5, 13, 20)], [3, 3])
    settings = make_scan_settings(
        ConsensusSettings, dark_model(class_ratios={"light": 0.0, "heavy": 1.0}, box_sizes={"heavy": 20.0}),
        {"number": 2, "stride": 1, "slab": "off"},
    )  # fmt: skip
    picks = detect_consensus(volume, dark_model(), settings=settings, device="cpu").particles
    order = np.argsort(picks.centers_zyx[:, 2])
    assert picks.classes.tolist() == ["heavy", "heavy"]
    assert np.abs(picks.centers_zyx[order] / 10 - [[6, 6, 7], [5, 13, 20]]).max() < 0.5
    places = picks.scores * 27  # of the box of a class, which reaches one place to each side
    assert places == pytest.approx(np.rint(places)) and (places >= 7).all()


@pytest.mark.parametrize(("thickness", "number"), [(120.0, 2), (240.0, 1)])
def test_as_many_as_the_density_of_the_training_says(thickness, number):
    """Two in 200 x 280 A, half of them where half the training's thickness is searched."""
    model = dark_model(
        class_ratios={"heavy": 1.0}, box_sizes={"heavy": 20.0}, density=2 / (200 * 280), thickness=thickness
    )
    settings = make_scan_settings(ConsensusSettings, model, {"stride": 1, "slab": "off"})
    volume = volume_with([(6, 6, 7), (5, 13, 20)], [3, 3])
    assert len(detect_consensus(volume, model, settings=settings, device="cpu").particles) == number


def test_unknown_settings_are_named():
    with pytest.raises(VoxpickError, match=r"detect: halo = 3: .*; known: .*tile"):
        make_scan_settings(PeakSettings, dark_model(), {"halo": 3})
    assert make_scan_settings(PeakSettings, dark_model(subtomogram=24)).minimum_distance == 140


def test_a_scan_leaves_the_format_of_a_network_in_training_as_it_was():
    network = YOPO(classes=3, box=8, widths=[4, 6], hidden=5)
    network.compute_dtype = torch.bfloat16
    ready = prepare(
        Volume(np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32), 10.0), 10.0, PeakSettings()
    )
    for _ in scan(ready, network, make_grid(ready, 4), tile=32, max_memory=4 * GIGA, device=CPU, dtype=torch.float32):
        assert network.compute_dtype == torch.bfloat16


def test_a_lower_threshold_than_the_models_own_is_not_undone_by_what_it_keeps():
    model = dark_model(threshold=0.2, lowest_location=0.37)
    assert make_scan_settings(CentreSettings, model).lowest_location == 0.37
    assert make_scan_settings(CentreSettings, model, {"threshold": 0.25}).lowest_location == 0.25
    assert make_scan_settings(CentreSettings, model, {"threshold": 0.5}).lowest_location == 0.37
    both = make_scan_settings(CentreSettings, model, {"threshold": 0.25, "lowest_location": 0.3})
    assert both.lowest_location == 0.3
