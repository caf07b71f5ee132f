"""copick picks: by hand, as written, real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes, uniform_rotations_zyx
from voxpick.io.copick import read_copick
from voxpick.io.formats import read_particles, write_particles
from voxpick.particles import Particles

VOXEL = 7.84
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def test_copick_by_hand(tmp_path: Path) -> None:
    """The transformation turns the object's z to x, x to y, y to z; its shift is added; a null score is 1."""
    turn = [[0, 0, 1, 1.5], [1, 0, 0, 2], [0, 1, 0, -3], [0, 0, 0, 1]]
    first = {"location": {"x": 10, "y": 20.5, "z": 30}, "transformation_": turn, "instance_id": 7, "score": None}
    picks = {"pickable_object_name": "ribosome", "user_id": "a", "session_id": "0", "run_name": None, "points": [first]}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(picks | {"unit": "angstrom", "something_new": [1]}))
    found = read_copick(path)
    np.testing.assert_allclose(found.centers_zyx, [[27, 22.5, 11.5]])
    assert found.rotations is not None and found.tomograms is not None and found.scores is not None
    np.testing.assert_allclose(swap_axes(found.rotations)[0] @ [0, 0, 1], [1, 0, 0])
    assert (found.classes[0], found.tomograms[0], found.scores[0]) == ("ribosome", "run", 1)
    path.write_text(json.dumps(picks | {"trust_orientation": False}))
    assert read_copick(path).rotations is None


def test_copick_as_written(tmp_path: Path) -> None:
    """The fields of copick's CopickPicksFile; one class and one run a file."""
    path = tmp_path / "p.json"
    picks_of = {
        "classes": np.array(["thyroglobulin"] * 2),
        "rotations": uniform_rotations_zyx(2, np.random.default_rng(0)),
    }
    particles = Particles(np.array([[30, 50, 70.0], [1, 2, 3]]), **picks_of)
    write_particles(path, particles, voxel_size=VOXEL)
    picks = json.loads(path.read_text())
    assert list(picks) == [
        "pickable_object_name", "user_id", "session_id", "run_name", "voxel_spacing", "unit", "points",
        "trust_orientation",
    ]  # fmt: skip
    assert (picks["run_name"], picks["voxel_spacing"]) == ("tomogram", VOXEL)
    assert picks["session_id"] == "0" and picks["unit"] == "angstrom" and picks["trust_orientation"] is True
    assert sorted(picks["points"][0]) == ["instance_id", "location", "score", "transformation_"]
    assert np.shape(picks["points"][0]["transformation_"]) == (4, 4)
    path.unlink()
    with pytest.raises(VoxpickError, match=r"p\.json.* one class, and these picks have 2 \(12, 3\); take a file for"):
        write_particles(path, particles.with_columns(classes=np.array(["12", "3"])))
    with pytest.raises(VoxpickError, match="does not allow the class name 'beta_gal'"):
        write_particles(path, particles.with_columns(classes=np.array(["beta_gal"] * 2)))
    for name in ("-a", "a-", "", "a b", "a/b"):
        with pytest.raises(VoxpickError, match=f"does not allow the class name '{name}'"):
            write_particles(path, particles.with_columns(classes=np.array([name] * 2)))
    assert list(tmp_path.iterdir()) == []


def test_a_point_without_a_score_is_sure(tmp_path: Path) -> None:
    location = {"x": 1, "y": 2, "z": 3}
    points = [{"location": location, "score": None}, {"location": location, "score": 0.5}, {"location": location}]
    picks = {"pickable_object_name": "a", "user_id": "b", "session_id": "0", "points": points}
    (tmp_path / "p.json").write_text(json.dumps(picks))
    found = read_copick(tmp_path / "p.json").scores
    assert found is not None and found.tolist() == [1, 0.5, 1]


@needs_data
def test_real_copick_files() -> None:
    counts = {"apo-ferritin": 36, "beta-amylase": 21, "beta-galactosidase": 24, "ribosome": 65}
    counts |= {"thyroglobulin": 49, "virus-like-particle": 13}
    for name, count in counts.items():
        found = read_particles(DATA / "picks" / f"{name}.json")
        assert len(found) == count and set(found.classes) == {name} and found.rotations is None
        assert found.tomograms is not None and set(found.tomograms) == {"TS_99_9"}
    np.testing.assert_allclose(
        read_particles(DATA / "picks" / "apo-ferritin.json").centers_zyx[0], [715.679, 4038.0, 6072.464]
    )
