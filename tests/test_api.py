import numpy as np
import pytest

from voxpick.api import detect, evaluate, simulate, train
from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.volume import Volume


@pytest.fixture(scope="module")
def world():
    return simulate(
        seed=8, size_zyx=(48, 56, 64), particles=4, thickness=60, snr=0.5, tilt_step_deg=10.0,
    )  # fmt: skip


def test_the_truth_scores_1(world):
    score = evaluate(world.tomogram_particles, world)
    assert world.z_offset == 6
    assert (score.f1, score.average_distance) == (1.0, 0.0)
    classes = world.class_mask[tuple(world.particles.voxels(10.0).astype(int).T)]
    from voxpick.shrec_classes import CLASS_IDS

    assert classes.tolist() == [CLASS_IDS[name] for name in world.particles.classes]


def test_train_and_detect_on_arrays(world):
    model = train(
        [world], "localizer", method="vp-detector", steps=2, patch=24,
        network_settings={"depth": 3, "dilations": [1, 2, 3]},
    )  # fmt: skip
    assert model.classes == ["background", "particle"]
    assert len(model.spectrum) == 24
    picks = detect(world.tomogram, model, threshold=0.999)
    assert np.isfinite(picks.centers_zyx).all()
    assert set(picks.classes) <= {"particle"}


def test_what_train_makes_by_default_detects(world):
    """It was taken for a localizer of VP-Detector, whatever method it is of."""
    model = train([world], steps=2, batch=1, patch=16, network_settings={"widths": [8, 8, 8], "blocks": [1, 1, 1]})
    picks = detect(world.tomogram, model, turns=False, threshold=0.5)
    assert set(picks.classes) <= set(model.classes)


def test_a_pick_in_the_last_section_is_inside_whatever_is_odd():
    """The tomogram has one section more than a specimen of 21 with as many sections above it as below."""
    world = simulate(seed=3, size_zyx=(21, 24, 32), thickness=32, particles=4)
    nz = world.tomogram.shape[0]
    last = Particles(np.array([[(nz - 1) * 10.0, 100.0, 100.0]]))
    assert (nz - 21) % 2 == 1 and evaluate(last, world).outside == 0
    assert evaluate(Particles(np.array([[nz * 10.0, 100.0, 100.0]])), world).outside == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": (48, 56, 64)}, r"size = \(48, 56, 64\): .*; known: size_zyx, voxel_size"),
        ({"size_zyx": (48, 56)}, r"size_zyx.2 = \(48, 56\): Field required"),
        (
            {"size_zyx": (48, 56, 64), "thickness": 40},
            "^simulate: the tomogram must be at least as thick",
        ),
    ],
)
def test_wrong_settings_of_a_simulation_are_told_in_one_line(settings, words):
    """They came as pydantic's errors of several lines, with a link to its manual."""
    with pytest.raises(VoxpickError, match=words) as caught:
        simulate(seed=1, **settings)
    assert "\n" not in str(caught.value)


def test_nothing_to_train_on_is_told():
    with pytest.raises(VoxpickError, match="no world to train on"):
        train([])


ARRAY = np.zeros((8, 8, 8), dtype=np.float32)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda world: detect(ARRAY), "volume is of type ndarray, not a Volume; read one by .*read_mrc"),
        (lambda world: detect(world), "volume is of type World, not a Volume"),
        (lambda world: detect(None), "volume is None, not a Volume"),
        (lambda world: detect(world.tomogram, "mine.pt"), "localizer is of type str, not a Model; .*load_models"),
        (lambda world: detect(world.tomogram, classifier={}), "classifier is of type dict, not a Model"),
        (lambda world: detect(world.tomogram, models="mine.pt"), "models is of type str, not a dict"),
        (lambda world: detect(world.tomogram, models={"picker": "a"}), r"models\['picker'\] is of type str"),
        (lambda world: detect(world.tomogram, models={}), "models is empty"),
        (lambda world: evaluate(ARRAY, world), "picks is of type ndarray, not a Particles; .*centers_zyx in A"),
        (lambda world: evaluate(world.particles, world.particles), "world is of type Particles, not a World"),
        (lambda world: train(world), r"worlds is of type World; give a list of them, such as \[world\]"),
        (lambda world: train("data/model_0"), "worlds is of type str; give a list"),
        (lambda world: train([world, world.tomogram]), r"worlds\[1\] is of type Volume, not a World"),
        (lambda world: train([world], earlier={"localizer": "a.pt"}), r"earlier\['localizer'\] is of type str"),
        (lambda world: simulate(seed=None), "seed = None: give a whole number"),
        (lambda world: simulate(seed=-1), "seed = -1: give a whole number"),
        (lambda world: simulate(seed=1, structures=["1bxn"]), "structures is of type list, not a dict"),
        (lambda world: simulate(seed=1, structures={"a": "a.npz"}), r"structures\['a'\] is of type str"),
        (lambda world: simulate(seed=1, structures={}), "structures is empty"),
        (lambda world: Volume([[[1.0]]], 10.0), "data of a volume is list; give a NumPy array"),
        (lambda world: Volume(ARRAY.astype(complex), 10.0), "data of a volume is complex128"),
        (lambda world: Volume(ARRAY, "10"), "voxel size is '10'; give a number"),
        (lambda world: Volume(ARRAY, None), "voxel size is None; give a number"),
    ],
)
def test_what_is_given_in_the_wrong_place_is_told_with_the_way_out(world, wrong, words):
    """Each was an AttributeError or a TypeError from somewhere inside, or was taken without a word."""
    with pytest.raises(VoxpickError, match=words):
        wrong(world)
