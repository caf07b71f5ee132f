"""Files of copick, Dynamo, crYOLO, IMOD and DeepFinder: round trips, what is missing, bad files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxpick.cli import build_app
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.io.copick import read_copick
from voxpick.io.foreign import confidences, numbers_of
from voxpick.io.formats import read_particles, write_particles
from voxpick.particles import Particles

SHAPE, VOXEL = (12, 20, 28), 7.84
SUFFIXES = [".json", ".tbl", ".cbox", ".mod", ".xml"]


def table(n: int, seed: int = 0, classes: tuple[str, ...] = ("12", "3")) -> Particles:
    """Most confident first, one tomogram."""
    rng = np.random.default_rng(seed)
    return Particles(
        rng.uniform(0, np.array(SHAPE) * VOXEL, (n, 3)),
        classes=np.array(classes, dtype=object)[np.arange(n) % len(classes)],
        scores=np.sort(rng.uniform(0.01, 1, n))[::-1],
        rotations=uniform_rotations_zyx(n, rng),
        tomograms=np.full(n, "4", dtype=object),
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 9), seed=st.integers(0, 10**6), suffix=st.sampled_from(SUFFIXES))
def test_round_trip(tmp_path: Path, n: int, seed: int, suffix: str) -> None:
    particles = table(n, seed, classes=("12",) if suffix == ".json" else ("12", "3"))
    path = tmp_path / f"4{suffix}"
    write_particles(path, particles, voxel_size=VOXEL, shape=SHAPE)
    back = read_particles(path, voxel_size=VOXEL, shape=SHAPE)
    if suffix == ".mod":  # by class
        order = np.argsort(np.arange(n) % 2, kind="stable")
        particles = particles[order].with_columns(scores=None, rotations=None)
    np.testing.assert_allclose(back.centers_zyx, particles.centers_zyx, atol=5e-3 if suffix == ".xml" else 2e-4)
    np.testing.assert_allclose(back.scores, particles.scores, atol=1e-6)
    assert back.classes.tolist() == particles.classes.tolist()
    assert back.tomograms is not None and set(back.tomograms) == {"4"}
    if suffix in (".json", ".tbl"):
        np.testing.assert_allclose(back.rotations, particles.rotations, atol=1e-7)
    else:
        assert back.rotations is None


CBOX = "data_cryolo\n\nloop_\n_CoordinateX\n_CoordinateY\n_CoordinateZ\n_Width\n_Height\n"
PICKS = '{"pickable_object_name": "a", "user_id": "b", "session_id": "0", "points": [%s]%s}'
POINT = '{"location": {"x": 1, "y": 2, "z": %s}, "transformation_": %s}'


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "", "not a copick picks file: Invalid JSON"),
        ("a.json", "[1, 2]", "not a copick picks file"),
        ("a.json", '{"pickable_object_name": "a", "user_id": "b"}', "session_id: Field required"),
        ("a.json", (PICKS % (POINT % ("3", "null"), ""))[:-20], "Invalid JSON"),
        ("a.json", PICKS % (POINT % ("NaN", "null"), ""), r"points.0.location.z: .*finite number \(found 'nan'\)"),
        ("a.json", PICKS % (POINT % ('"3"', "null"), ""), r"points.0.location.z: .*number \(found '3'\)"),
        ("a.json", PICKS % (POINT % ("3", "[[1, 0], [0, 1]]"), ""), r"points.0.transformation_ is not 4 x 4"),
        ("a.json", PICKS % (POINT % ("3", str((2 * np.eye(4)).tolist())), ""), "points.0.* no rotation"),
        ("a.json", PICKS % (POINT % ("3", str(np.diag([-1.0, 1, 1, 1]).tolist())), ""), "points.0.* no rotation"),
        ("a.json", PICKS % (POINT % ("3", str(np.diag([1.0, 1, 1, 2]).tolist())), ""), "points.0.* no rotation"),
        ("a.json", PICKS % ("", ', "unit": "nm"'), "unit is 'nm'"),
        ("a.json", "[" * 100_000, "not a copick picks file"),
        ("a.tbl", "1 2 3\n", "line 1: 3 columns; Dynamo tables have at least 26"),
        ("a.tbl", "1 " * 30 + "\n" + "1 " * 27 + "\n", "line 2: 27 columns; line 1 has 30"),
        ("a.tbl", "1 " * 22 + "nan 1 nan 1\n", "line 1: y is 'nan'"),
        ("a.tbl", "1 " * 23 + "1 two 1\n", "line 1: y is 'two'"),
        ("a.cbox", "hello\n", "not a .*CBOX file"),
        ("a.cbox", "data_particles\n\nloop_\n_rlnFoo\n1\n", "no data_cryolo block.*found data_particles"),
        ("a.cbox", CBOX.replace("_CoordinateZ\n", "") + "1 2 3 4\n", "_CoordinateZ is missing.*pick in tomograms"),
        ("a.cbox", CBOX + "1 2 3 4 4\n1 2 <NA> 4 4\n", "box 2: _CoordinateZ is"),
        ("a.cbox", CBOX + "1 2 3 4 4\n1 2 3 four 4\n", "box 2: _Width is four"),
        ("a.mod", "imod 1\n", "not a binary IMOD model .it is text"),
        ("a.mod", "IMODV1.1" + "x" * 300, "only V1.2"),
        ("a.xml", "", "line 1: not a whole XML file"),
        ("a.xml", "<objlist>\n<object", "line 2: not a whole XML file"),
        ("a.xml", "<html></html>", "line 1: <html> is no object list"),
        ("a.xml", '<objlist>\n<object x="1" y="2" class_label="1"/></objlist>', "line 2: this object has no z"),
        ("a.xml", '<objlist><object x="1" y="2" z="inf" class_label="1"/></objlist>', "line 1: z is 'inf'"),
        ("a.xml", '<?xml version="1.0" encoding="nonsense"?><objlist/>', "not a .* XML file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VoxpickError, match=rf"(?s){re.escape(name)}.*{words}"):
        read_particles(tmp_path / name, voxel_size=10, shape=SHAPE)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(VoxpickError, match=rf"missing\{suffix}: no such file"):
        read_particles(tmp_path / f"missing{suffix}", voxel_size=10)
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(VoxpickError, match=rf"folder\{suffix}: is a folder"):
        read_particles(tmp_path / f"folder{suffix}", voxel_size=10)
    (tmp_path / f"bytes{suffix}").write_bytes(bytes(range(128, 256)) * 4)
    with pytest.raises(VoxpickError, match=rf"bytes\{suffix}"):
        read_particles(tmp_path / f"bytes{suffix}", voxel_size=10)
    if suffix != ".json":
        with pytest.raises(VoxpickError, match=rf"p\{suffix}.*--voxel-size"):
            write_particles(tmp_path / f"p{suffix}", table(2))
    if suffix in (".cbox", ".xml"):
        write_particles(tmp_path / f"p{suffix}", table(2), voxel_size=10)
        with pytest.raises(VoxpickError, match=rf"p\{suffix}.*--voxel-size"):
            read_particles(tmp_path / f"p{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for place in ("starfile.write", "pathlib.Path.write_text", "pathlib.Path.write_bytes"):
        monkeypatch.setattr(place, full)
    with pytest.raises(VoxpickError, match=rf"p\{suffix}: cannot be written \(No space left"):
        write_particles(tmp_path / f"p{suffix}", Particles(np.ones((2, 3))), voxel_size=10, shape=SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_figures_of_merit_outside_0_and_1_are_mapped(tmp_path: Path) -> None:
    point = '{"location": {"x": 1, "y": 2, "z": 3}, "score": %g}'
    (tmp_path / "p.json").write_text(PICKS % (", ".join(point % score for score in (-2, 0, 6)), ""))
    scores = read_copick(tmp_path / "p.json").scores
    assert scores is not None and scores.tolist() == [0, 0.25, 1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_agreement_reads_them(tmp_path: Path, suffix: str) -> None:
    """voxpick agreement of a .csv and the same picks in each format: all are in both."""
    picks = table(6, classes=("12",))
    write_particles(tmp_path / "4.csv", picks)
    write_particles(tmp_path / f"4{suffix}", picks, voxel_size=VOXEL)
    arguments = ["--radius", "5", "--voxel-size", str(VOXEL), "-o", str(tmp_path / "out")]
    both = [str(tmp_path / f"4{suffix}"), str(tmp_path / "4.csv")]
    build_app()(args=["agreement", *both, *arguments], standalone_mode=False)
    assert len(read_particles(tmp_path / "out" / "both.csv")) == 6


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.25, 1], [0.25, 1]), ([-0.5, 0, 0.5], [0, 0.5, 1]), ([3, 3], [1, 1]), ([0.5, 2], [0, 1]), ([], []),
        ([-1e308, 0, 1e308], [0, 0.5, 1]),
    ],
)  # fmt: skip
def test_confidences_by_hand(given: list[float], expected: list[float]) -> None:
    assert confidences(given).tolist() == expected


def test_numbers_of_names_by_hand() -> None:
    def numbers(*names: str, **settings: object) -> list[int]:
        return numbers_of(np.array(names, dtype=object), len(names), **settings).tolist()

    assert numbers("12", "3", "12") == [12, 3, 12]
    assert numbers("1", "01") == [2, 1], "two names are two numbers"
    assert numbers("4cr2", "3cf3") == [4, 1] and numbers("4cr2", "x") == [1, 2]
    assert numbers("b", "a", first=0, ids={}) == [1, 0]
