import dataclasses
import warnings

import numpy as np
import pytest
from blobs import ball, model, scattered, tomogram

from voxpick.detect.one_stage import detect_in_one_stage
from voxpick.detect.pipeline import DetectSettings, detect_with_segmentation, make_settings
from voxpick.errors import VoxpickError
from voxpick.io.model import builtin_model_path, load_models
from voxpick.volume import Volume, intensity_statistics

SHAPE = (44, 60, 76)
NAMES = ["small", "large"]


def case(*, voxel_size: float = 10.0, seed: int = 0, stretch: float = 1.0):
    """A tomogram of 12 spheres, their centres in A, the classes (by darkness) and models that tell them apart."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n * stretch) for n in SHAPE)
    labels, centers = scattered(shape, 12, (4 * stretch, 6 * stretch), rng, gap=3 * stretch)
    truth = np.arange(12) % 2
    volume = tomogram(labels, np.where(truth == 0, 8.0, 40.0), rng, voxel_size=voxel_size)
    _, deviation = intensity_statistics(volume)
    levels = (4.0 / deviation, 12.0 / deviation)
    localizer = model(levels[:1], ["particle"], threshold=0.5)
    return volume, centers * voxel_size, truth, localizer, model(levels, NAMES)


def detect(*given, **settings):
    return detect_with_segmentation(*given, **settings).particles


def match(particles, centers):
    distance = np.linalg.norm(particles.centers_zyx[:, None] - centers, axis=2)
    return distance.argmin(axis=1), distance.min(axis=1)


def test_every_particle_is_found_named_and_scored():
    volume, centers, truth, localizer, classifier = case()
    particles = detect(volume, localizer, classifier, device="cpu")
    rows, distance = match(particles, centers)
    assert sorted(rows) == list(range(12))
    assert distance.max() < 5
    assert [NAMES.index(name) for name in particles.classes] == truth[rows].tolist()
    np.testing.assert_allclose(particles.scores, particles.location_scores * particles.class_scores)
    assert (np.diff(particles.scores) <= 0).all() and particles.scores.max() > 0.7
    assert set(particles.tomograms) == {"blobs"}


def test_small_tiles_find_the_same():
    volume, _, _, localizer, classifier = case()
    whole = detect(volume, localizer, classifier, device="cpu")
    for merge in ("crop", "border"):
        settings = DetectSettings(tile=40, halo=8, merge=merge)
        tiled = detect(volume, localizer, classifier, settings=settings, device="cpu")
        rows, distance = match(tiled, whole.centers_zyx)
        assert sorted(rows) == list(range(12)) and distance.max() < 0.5
        np.testing.assert_array_equal(tiled.classes, whole.classes[rows])


def test_without_a_classifier_picks_bear_the_localizers_class():
    volume, centers, _, localizer, _ = case()
    particles = detect(volume, localizer, device="cpu")
    assert set(particles.classes) == {"particle"} and len(particles) == 12
    assert particles.class_scores is None
    assert match(particles, centers)[1].max() < 5


@pytest.mark.parametrize(("voxel_size", "stretch"), [(5.0, 2.0), (14.0, 1.0)])
def test_another_voxel_size_is_rescaled_with_a_warning_and_centres_come_back(voxel_size, stretch):
    volume, centers, _, localizer, _ = case(voxel_size=voxel_size, stretch=stretch)
    with pytest.warns(UserWarning, match=f"{voxel_size:g} A voxels are rescaled to the model's 10 A"):
        detection = detect_with_segmentation(volume, localizer, device="cpu")
    rows, distance = match(detection.particles, centers)
    assert sorted(rows) == list(range(12))
    assert distance.max() < 0.7 * voxel_size
    assert detection.segmentation.shape == volume.shape
    at = np.rint(detection.particles.voxels(voxel_size)).astype(int)
    assert (detection.segmentation.data[tuple(at.T)] == 1).all()


def test_the_header_may_be_off_by_a_percent_without_a_warning():
    volume, centers, _, localizer, _ = case(voxel_size=10.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert match(detect(volume, localizer, device="cpu"), centers)[1].max() < 5


def test_bright_protein_is_inverted():
    volume, centers, _, localizer, _ = case()
    bright = volume.with_data(-volume.data)
    with pytest.warns(UserWarning, match="particles seem to be bright.* add --invert"):
        assert len(detect(bright, localizer, device="cpu")) == 0
    found = detect(bright, localizer, settings=DetectSettings(invert=True), device="cpu")
    assert len(found) == 12 and match(found, centers)[1].max() < 5


def test_the_segmentation_shows_the_class_of_every_pick():
    volume, centers, truth, localizer, classifier = case()
    detection = detect_with_segmentation(volume, localizer, classifier, device="cpu")
    assert detection.classes == ["background", *NAMES]
    at = np.rint(centers / 10).astype(int)
    assert detection.segmentation.data[tuple(at.T)].tolist() == (truth + 1).tolist()
    assert detection.segmentation.data.dtype == np.uint8 and detection.segmentation.data[0, 0, 0] == 0
    coded = dataclasses.replace(detection, classes=["background", "4cr2", "4d8q"])
    numbers = np.array([4, 11])  # SHREC's, as in masks of such data
    assert coded.segmentation.data[tuple(at.T)].tolist() == numbers[truth].tolist()


def test_low_scores_can_be_left_out():
    volume, _, _, localizer, classifier = case()
    scores = detect(volume, localizer, classifier, device="cpu").scores
    kept = detect(volume, localizer, classifier, settings=DetectSettings(minimum_score=float(scores[4])), device="cpu")
    assert len(kept) == 5


def test_progress_names_the_stages():
    volume, _, _, localizer, classifier = case()
    seen = []
    detect(volume, localizer, classifier, device="cpu", progress=lambda *step: seen.append(step))
    assert [step for step, done, total in seen if done == total] == ["finding particles", "naming particles"]


def test_an_empty_tomogram_gives_no_picks():
    _, _, _, _, classifier = case()
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) * 0.1
    noise[0, 0, 0] = 5
    sharp = model((50.0,), ["particle"])
    assert len(detect(Volume(noise, 10.0), sharp, classifier, device="cpu")) == 0


def test_models_bring_their_settings_and_changes_win():
    localizer = model((1.0,), ["particle"], threshold=0.7, bandwidth=80.0)
    settings = make_settings([None, localizer], {"bandwidth": 40.0, "tile": None})
    assert (settings.threshold, settings.bandwidth, settings.tile) == (0.7, 40.0, DetectSettings().tile)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"treshold": 0.5}, "treshold"), ({"threshold": 2}, "threshold = 2"), ({"merge": "x"}, "merge")],
)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises(VoxpickError, match=words):
        make_settings([], changes)


def test_bad_volumes_and_models_are_refused():
    volume, _, _, localizer, classifier = case()
    broken = volume.data.copy()
    broken[22, 30, 38] = np.nan
    for voxel_size in (10.0, 14.0):
        with pytest.raises(VoxpickError, match="NaN"):
            detect(Volume(broken, voxel_size), localizer, device="cpu")
        with pytest.raises(VoxpickError, match="constant"):
            detect(Volume(np.ones(SHAPE, dtype=np.float32), voxel_size), localizer, device="cpu")
    classifier.voxel_size = 13.0
    with pytest.raises(VoxpickError, match=r"13 A \(classifier\)"):
        detect(volume, localizer, classifier, device="cpu")
    localizer.classes = ["background"]
    with pytest.raises(VoxpickError, match="localizer has the classes"):
        detect(volume, localizer, device="cpu")


def test_settings_are_kept_and_centres_without_voxels_have_no_segmentation():
    volume, _, _, localizer, _ = case()
    settings = DetectSettings(neck=0.55)
    detection = detect_with_segmentation(volume, localizer, settings=settings, device="cpu")
    assert detection.settings == settings.model_dump()
    empty = np.zeros(0, dtype=np.int64)
    bare = dataclasses.replace(detection, located=dataclasses.replace(detection.located, voxels=empty, owner=empty))
    with pytest.raises(VoxpickError, match="12 centres without segmenting voxels"):
        _ = bare.segmentation


def test_the_seeds_of_mean_shift_reach_the_clustering_of_both_kinds_of_method():
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[ball(SHAPE, (20, 28, 24), 8) | ball(SHAPE, (20, 28, 41), 8)] = 1
    volume = tomogram(labels, np.array([40.0]), np.random.default_rng(0))
    network = model((4.0 / intensity_statistics(volume)[1],), ["particle"])
    number = {}
    for seeds in ("bins", "centroids"):
        settings = make_settings([network], {"split": "mean-shift", "seeds": seeds})
        two = detect_with_segmentation(volume, network, settings=settings, device="cpu")
        one = detect_in_one_stage(volume, network, settings=settings, per_class=True, device="cpu")
        number[seeds] = (len(two.particles), len(one.particles))
        assert two.settings["seeds"] == seeds
    assert number["centroids"] == (1, 1) and min(number["bins"]) >= 2


def test_models_that_were_saved_without_seeds_keep_the_bins():
    models = load_models(builtin_model_path("vp-detector"))
    assert not any("seeds" in part.detection for part in models.values())
    assert make_settings(models.values(), {"split": "mean-shift"}).seeds == "bins"
