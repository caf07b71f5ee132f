"""TM-F, TM-T and DoG on a tomogram of stamped molecules."""

import warnings

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.match.bank import Template
from voxpick.match.settings import MatchSettings, make_match_settings
from voxpick.methods import dog, template_matching, tm_t
from voxpick.methods.template_matching import bead_templates, match
from voxpick.simulate.bank import load_bank
from voxpick.simulate.structures import stamp_density
from voxpick.volume import Volume

SHAPE = (28, 40, 52)
PLACED = {"1bxn": [(13, 12, 12), (14, 26, 38)], "1s3x": [(14, 30, 14), (9, 9, 33)]}
QUICK = {
    "classes": ["1bxn", "1s3x"],
    "angular_step": 40,
    "ctf": "off",
    "tilt_range": "off",
    "slab": "off",
    "candidates": 40,
}


@pytest.fixture(scope="module")
def tomogram():
    """Dark molecules of two classes in noise, at random orientations."""
    rng, bank = np.random.default_rng(4), load_bank(PLACED)
    data = rng.normal(scale=0.05, size=SHAPE)
    for name, places in PLACED.items():
        for place in places:
            turned = bank[name].positions_zyx @ uniform_rotations_zyx(1, rng)[0].T
            data -= stamp_density(turned, bank[name].electrons, SHAPE, 10.0, np.array(place) * 10.0)
    return Volume((data + 7).astype(np.float32), 10.0, "stamped")


def hits(particles, name):
    """Places of the class that have a pick of it within 2 voxels."""
    mine = particles.centers_zyx[particles.classes == name] / 10
    return sum(bool(len(mine)) and np.linalg.norm(mine - np.array(p), axis=1).min() <= 2 for p in PLACED[name])


@pytest.mark.parametrize("path", ["low-rank", "exact"])
def test_tm_f_finds_and_names_the_molecules(tomogram, path):
    detection = template_matching.detect(tomogram, {}, changes={**QUICK, "number": 2, "path": path}, device="cpu")
    picks = detection.particles
    assert sorted(picks.classes) == ["1bxn", "1bxn", "1s3x", "1s3x"]
    assert hits(picks, "1bxn") == 2 and hits(picks, "1s3x") == 2
    assert picks.rotations.shape == (4, 3, 3) and np.allclose(np.linalg.det(picks.rotations), 1)
    assert detection.settings["path"] == path and detection.classes == ["background", "1bxn", "1s3x"]


def test_the_orientation_turns_the_reference_into_the_particle():
    """A molecule at a known orientation: what is found turns its beads nearly onto it."""
    rng, model = np.random.default_rng(1), load_bank(["1qvr"])["1qvr"]
    turn = uniform_rotations_zyx(1, rng)[0]
    data = -stamp_density(model.positions_zyx @ turn.T, model.electrons, (40, 44, 48), 10.0, (200.0, 210.0, 230.0))
    volume = Volume(data + rng.normal(scale=0.02, size=data.shape).astype(np.float32), 10.0)
    changes = {**QUICK, "classes": ["1qvr"], "number": 1, "angular_step": 25, "volumes": 40}
    pick = template_matching.detect(volume, {}, changes=changes, device="cpu").particles
    assert pick.centers_zyx[0].tolist() == [200, 210, 230] and pick.scores[0] > 0.8
    found = model.positions_zyx @ pick.rotations[0].T
    density = [
        stamp_density(p, model.electrons, (40,) * 3, 10.0, (200.0,) * 3) for p in (found, model.positions_zyx @ turn.T)
    ]
    assert np.corrcoef(density[0].ravel(), density[1].ravel())[0, 1] > 0.8


def test_tm_t_takes_the_best_of_each_class_even_where_they_overlap(tomogram):
    changes = {**QUICK, "number": 4, "path": "exact"}
    both = tm_t.detect(tomogram, {}, changes=changes, device="cpu").particles
    assert sorted(both.classes) == ["1bxn"] * 4 + ["1s3x"] * 4
    large, small = (both.centers_zyx[both.classes == name] for name in ("1bxn", "1s3x"))
    between = np.linalg.norm(large[:, None] - small[None], axis=-1)
    assert between.min() < 60
    assert list(both.classes) == ["1bxn"] * 4 + ["1s3x"] * 4, "the larger class comes first, as in the paper"
    assert (np.diff(both.scores) <= 0).all() and both.scores[3] >= 0.5 > both.scores[4]
    np.testing.assert_allclose(2 * both.scores[4:], both.location_scores[4:])
    filtered = template_matching.detect(tomogram, {}, changes=changes, device="cpu").particles
    apart = np.linalg.norm(filtered.centers_zyx[:, None] - filtered.centers_zyx[None], axis=-1)
    assert apart[~np.eye(len(filtered), dtype=bool)].min() > 60


def test_bright_particles_are_found_when_told(tomogram):
    bright = tomogram.with_data(-tomogram.data)
    changes = {**QUICK, "number": 2, "classes": ["1bxn"], "path": "exact"}
    found = template_matching.detect(bright, {}, changes={**changes, "invert": True}, device="cpu").particles
    assert hits(found, "1bxn") == 2
    missed = template_matching.detect(bright, {}, changes=changes, device="cpu").particles
    assert hits(missed, "1bxn") == 0


def test_gold_is_no_particle_where_it_is_taken_out(tomogram):
    beads = np.array([(8, 32, 8), (20, 10, 42)])
    away = np.linalg.norm(np.stack(np.indices(SHAPE), -1)[..., None, :] - beads, axis=-1).min(-1)
    gilded = tomogram.with_data(np.where(away <= 4, np.float32(-30), tomogram.data))
    changes = {**QUICK, "classes": ["1bxn"], "number": 4}
    found = {}
    for outliers in (None, 100):
        picks = template_matching.detect(gilded, {}, changes={**changes, "outliers": outliers}, device="cpu").particles
        assert hits(picks, "1bxn") == 2
        at = picks.centers_zyx[:, None] / 10 - beads
        found[outliers] = int((np.linalg.norm(at, axis=-1) < 7).any(1).sum())
    assert found[None] >= 2 and found[100] == 0
    with pytest.warns(UserWarning, match=r"outliers = 2 takes out \d+\.\d% of the voxels"):
        template_matching.detect(gilded, {}, changes={**changes, "outliers": 2}, device="cpu")


def test_only_the_slab_is_searched(tomogram):
    changes = {**QUICK, "slab": "12:28", "number": 2, "path": "exact"}
    picks = template_matching.detect(tomogram, {}, changes=changes, device="cpu").particles
    assert (picks.centers_zyx[:, 0] >= 120).all()
    assert hits(picks, "1bxn") == 2 and hits(picks, "1s3x") == 1


def test_the_ends_of_a_slab_are_no_faces(tomogram):
    """A particle at the first section asked for has the score that a search of everything gives it."""
    changes = {**QUICK, "classes": ["1bxn"], "number": 2, "path": "exact"}
    whole = template_matching.detect(tomogram, {}, changes=changes, device="cpu").particles
    part = template_matching.detect(tomogram, {}, changes={**changes, "slab": "13:15"}, device="cpu").particles
    assert whole.centers_zyx.tolist() == part.centers_zyx.tolist() and len(part) == 2
    np.testing.assert_allclose(part.scores, whole.scores, atol=1e-5)


@pytest.mark.parametrize("path", ["exact", "low-rank"])
def test_the_limit_of_candidates_is_that_of_the_slab(tomogram, path):
    """It was spent on what surrounds the slab first, and of many picks within it few were left."""
    changes = {**QUICK, "classes": ["1s3x"], "slab": "20:23", "path": path}
    every, few = (
        template_matching.detect(tomogram, {}, changes={**changes, **limits}, device="cpu").particles
        for limits in ({"candidates": 2000, "number": None}, {"candidates": 8, "number": 6})
    )
    assert len(every) > 12 and len(few) == 6
    assert ((few.centers_zyx[:, 0] >= 200) & (few.centers_zyx[:, 0] <= 220)).all()
    assert few.scores.min() >= np.sort(every.scores)[-9]


def test_bad_input_is_refused_with_the_way_out(tomogram):
    settings = make_match_settings(MatchSettings, QUICK)
    template = Template("map", bead_templates(load_bank(["1s3x"]), tomogram)[0].density, 5.0)
    with pytest.raises(VoxpickError, match=r"template map: voxels of 5 A, but stamped has 10 A"):
        match(tomogram, [template], settings)
    with pytest.raises(VoxpickError, match="no template"):
        match(tomogram, [], settings)
    with pytest.raises(VoxpickError, match=r"too large for tiles of 20"):
        template_matching.detect(tomogram, {}, changes={**QUICK, "tile": 20}, device="cpu")
    with pytest.raises(VoxpickError, match=r"2 A are too fine"):
        template_matching.detect(Volume(tomogram.data, 2.0), {}, changes=QUICK)
    told = r"wide: voxels of 100 A are too large for 4cr2, whose radius is 156 A, 1\.6 voxels; 2 are the least"
    with pytest.raises(VoxpickError, match=told):
        template_matching.detect(Volume(tomogram.data, 100.0, "wide"), {}, changes={**QUICK, "classes": ["4cr2"]})
    assert bead_templates(load_bank(["4cr2"]), Volume(tomogram.data, 70.0))[0].voxel_size == 70
    for changes, match_ in (({"classes": ["9xyz"]}, "9xyz"), ({"magic": 1}, "known: "), ({"path": "fast"}, "path")):
        with pytest.raises(VoxpickError, match=match_):
            template_matching.detect(tomogram, {}, changes=changes)


def ball_in(side, radius):
    """A template with a ball of this radius, in voxels, amid nothing."""
    inside = np.linalg.norm(np.indices((side,) * 3) - side // 2, axis=0) <= radius
    return Template("ball", inside.astype(np.float32), 10.0)


@pytest.mark.parametrize("shape", [(12, 20, 28), (40, 20, 44), (40, 44, 20)])
def test_a_particle_wider_than_the_tomogram_is_refused(shape):
    """A map of 40 voxels with a particle of radius 12: the mask reaches one voxel farther and is 26 across."""
    volume = Volume(np.random.default_rng(0).normal(size=shape).astype(np.float32), 10.0, "small")
    z, y, x = shape
    with pytest.raises(VoxpickError, match=rf"26 voxels across .260 A.*small has {z} x {y} x {x} .*--radius"):
        match(volume, [ball_in(40, 12)], MatchSettings(angular_step=60))


def test_a_thin_slab_is_searched_with_a_warning_and_an_empty_rim_of_a_map_is_no_matter():
    ball, where = ball_in(40, 5), np.array([6, 9, 17])
    data = np.random.default_rng(0).normal(scale=0.05, size=(12, 20, 28)).astype(np.float32)
    data[np.linalg.norm(np.indices(data.shape) - where[:, None, None, None], axis=0) <= 5] -= 1
    settings = MatchSettings(angular_step=90, ctf="off", tilt_range="off", slab="off", number=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = match(Volume(data, 10.0, "flat"), [ball], settings, device="cpu").particles
    assert np.abs(found.centers_zyx[0] / 10 - where).max() <= 1
    with pytest.warns(UserWarning, match=r"thin: 9 sections are fewer than the voxels that the masks of ball .12. are"):
        found = match(Volume(data[2:11], 10.0, "thin"), [ball], settings, device="cpu").particles
    assert np.abs(found.centers_zyx[0] / 10 - where + [2, 0, 0]).max() <= 1


def test_dog_finds_the_large_ones_by_their_size(tomogram):
    found = dog.detect(tomogram, {}, changes={"radius": 55, "slab": "off", "number": 2}, device="cpu").particles
    assert set(found.classes) == {"particle"} and found.rotations is None
    for place in PLACED["1bxn"]:
        assert np.linalg.norm(found.centers_zyx / 10 - np.array(place), axis=1).min() <= 2
    assert (found.scores >= 0.5).all() and (found.scores < 1).all()
    with pytest.raises(VoxpickError, match="radius"):
        dog.detect(tomogram, {}, changes={"radius": 2000, "slab": "off"})


def test_dog_keeps_to_its_slab():
    """A ball beyond the slab is no pick at its end; one at its first section scores as if all were looked at."""
    data = np.random.default_rng(0).normal(scale=0.05, size=(60, 40, 44)).astype(np.float32)
    grid = np.indices(data.shape)
    for place in ((17, 12, 12), (20, 28, 30)):
        data -= ((grid - np.array(place)[:, None, None, None]) ** 2).sum(axis=0) <= 16
    changes, volume = {"radius": 40, "deviations": 8}, Volume(data, 10.0, "balls")
    part = dog.detect(volume, {}, changes={**changes, "slab": "20:40", "number": 1}).particles
    assert part.centers_zyx.tolist() == [[200, 280, 300]]
    whole = dog.detect(volume, {}, changes={**changes, "slab": "off"}).particles
    assert sorted(whole.centers_zyx[:, 0]) == [170, 200]
    assert part.scores[0] == pytest.approx(whole.scores[list(whole.centers_zyx[:, 0]).index(200)], rel=0.05)
