import numpy as np
import pytest

from voxpick.api import detect, evaluate, simulate, train
from voxpick.particles import Particles


@pytest.fixture(scope="module")
def world():
    return simulate(
        seed=8, size_zyx=(48, 56, 64), particles=4, thickness=60, snr=0.5, tilt_step_deg=10.0,
    )  # fmt: skip


def test_the_truth_scores_1(world):
    offset = [world.z_offset * world.tomogram.voxel_size, 0, 0]
    picks = world.particles.with_columns(centers_zyx=world.particles.centers_zyx + offset)
    score = evaluate(picks, world)
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


def test_a_pick_in_the_last_section_is_inside_whatever_is_odd():
    """The tomogram has one section more than a specimen of 21 with as many sections above it as below."""
    world = simulate(seed=3, size_zyx=(21, 24, 32), thickness=32, particles=4)
    nz = world.tomogram.shape[0]
    last = Particles(np.array([[(nz - 1) * 10.0, 100.0, 100.0]]))
    assert (nz - 21) % 2 == 1 and evaluate(last, world).outside == 0
    assert evaluate(Particles(np.array([[nz * 10.0, 100.0, 100.0]])), world).outside == 1
