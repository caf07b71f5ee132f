"""Particle lists: round trips, real files, RELION's frame and angles by hand, bad files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes, uniform_rotations_zyx
from voxpick.io.csv import read_csv
from voxpick.io.formats import FORMATS, read_particles, write_particles
from voxpick.io.relion_angles import relion_to_rotations, rotations_to_relion
from voxpick.io.star import read_star, write_import_list, write_star
from voxpick.particles import Particles

SHAPE, VOXEL = (12, 20, 28), 7.84
PICKS = Path(__file__).parents[2] / ".." / "shared" / "data" / "picks"


def table(n: int, seed: int = 0) -> Particles:
    rng = np.random.default_rng(seed)
    return Particles(
        rng.uniform(0, np.array(SHAPE) * VOXEL, (n, 3)),
        classes=rng.choice(["3cf3", "1s3x", "4e10", "nan"], n),
        scores=rng.uniform(size=n),
        location_scores=rng.uniform(size=n),
        class_scores=rng.uniform(size=n),
        rotations=uniform_rotations_zyx(n, rng),
        tomograms=rng.choice(["0001", "1e5", "TS 2"], n),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 9), seed=st.integers(0, 10**6), suffix=st.sampled_from([".star", ".csv", ".tsv"]))
def test_round_trip(tmp_path: Path, n: int, seed: int, suffix: str) -> None:
    particles = table(n, seed)
    write_particles(tmp_path / f"p{suffix}", particles, voxel_size=VOXEL, shape=SHAPE)
    back = read_particles(tmp_path / f"p{suffix}", voxel_size=VOXEL, shape=SHAPE)
    np.testing.assert_allclose(back.centers_zyx, particles.centers_zyx, atol=1e-4)
    for name in ("scores", "location_scores", "class_scores", "rotations"):
        np.testing.assert_allclose(getattr(back, name), getattr(particles, name), atol=2e-6)
    assert back.classes.tolist() == particles.classes.tolist()
    assert back.tomograms is not None and particles.tomograms is not None
    assert back.tomograms.tolist() == particles.tomograms.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_class_and_place_and_takes_an_empty_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"p{FORMATS[name].suffixes[0]}"
    classes = {"copick": ["3cf3", "3cf3"], "dynamo": ["3", "12"]}.get(name, ["3cf3", "1s3x"])  # one a file; numbers
    particles = Particles(np.array([[3, 5, 7], [11, 19, 27.0]]) * VOXEL, classes=np.array(classes))
    write_particles(path, particles, voxel_size=VOXEL, shape=SHAPE)
    back = read_particles(path, voxel_size=VOXEL, shape=SHAPE)
    np.testing.assert_allclose(back.voxels(VOXEL), [[3, 5, 7], [11, 19, 27]], atol=1e-4)
    assert back.classes.tolist() == classes and back.rotations is None
    write_particles(path, particles[[]], voxel_size=VOXEL, shape=SHAPE)
    assert len(read_particles(path, voxel_size=VOXEL, shape=SHAPE)) == 0, "what detect wrote can be read again"


def test_relion_5_measures_from_voxel_half_the_shape(tmp_path: Path) -> None:
    particles = Particles(np.array([[6, 10, 14], [7, 10, 14.0], [0, 0, 0]]) * 10, classes=np.array(["4cr2"] * 3))
    write_star(tmp_path / "p.star", particles, voxel_size=10, shape=SHAPE)
    blocks = starfile.read(tmp_path / "p.star")
    centred = blocks["particles"][[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]]
    np.testing.assert_allclose(centred, [[0, 0, 0], [0, 0, 10], [-140, -100, -60]])
    assert blocks["particles"]["rlnClassNumber"].tolist() == [4, 4, 4]
    np.testing.assert_allclose(read_star(tmp_path / "p.star").centers_zyx, particles.centers_zyx)
    write_star(tmp_path / "p4.star", particles, voxel_size=10, relion=4)
    pixels = starfile.read(tmp_path / "p4.star")["particles"][["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]]
    np.testing.assert_allclose(pixels, [[14, 10, 6], [14, 10, 7], [0, 0, 0]])
    np.testing.assert_allclose(read_star(tmp_path / "p4.star", voxel_size=99).centers_zyx, particles.centers_zyx)


def relions_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """The matrix of Heymann et al. (2005), which RELION applies to coordinates of the reference."""
    (a, b, c), (sa, sb, sc) = np.cos(np.radians([rot, tilt, psi])), np.sin(np.radians([rot, tilt, psi]))
    return np.array(
        [
            [c * b * a - sc * sa, c * b * sa + sc * a, -c * sb],
            [-sc * b * a - c * sa, -sc * b * sa + c * a, sc * sb],
            [sb * a, sb * sa, b],
        ]
    )


def test_relion_angles_give_relions_matrix() -> None:
    for angles in ([90, 90, 0], [10, 20, 30], [-120, 75, 160]):
        matrix = swap_axes(relion_to_rotations(np.array([angles])))[0]
        np.testing.assert_allclose(matrix, relions_matrix(*angles), atol=1e-12)
        np.testing.assert_allclose(rotations_to_relion(relion_to_rotations(np.array([angles]))), [angles])


def test_relions_rot_spins_a_particle_about_its_own_axis() -> None:
    """As helical priors say: tilt and psi alone give the direction of the reference's z axis."""
    first, second = swap_axes(relion_to_rotations(np.array([[0, 60, 40], [77, 60, 40]])))
    np.testing.assert_allclose(first[:, 2], second[:, 2], atol=1e-12)
    np.testing.assert_allclose(first @ swap_axes(relion_to_rotations(np.array([[77, 0, 0]])))[0], second, atol=1e-12)


@pytest.mark.skipif(not PICKS.is_dir(), reason="needs ../shared/data/picks")
def test_neighbours_in_a_membrane_point_the_same_way() -> None:
    """Photosystem II sits in stacked flat membranes: its axes are parallel, up to sign, to those of its neighbours."""
    particles = read_particles(PICKS / "empiar11830_ps2.star", voxel_size=1.96)
    assert particles.rotations is not None and particles.tomograms is not None
    agreement, transposed = [], []
    for name in set(particles.tomograms):
        some = particles[particles.tomograms == name]
        assert some.rotations is not None
        _, nearest = cKDTree(some.centers_zyx).query(some.centers_zyx, k=4)
        for axes, found in ((some.rotations[:, :, 0], agreement), (some.rotations[:, 0, :], transposed)):
            found += np.abs(np.einsum("nk,nmk->nm", axes, axes[nearest[:, 1:]])).ravel().tolist()
    assert np.mean(agreement) > 0.8
    assert np.mean(transposed) < 0.65, "as RELION's inverse would have it; 0.5 is random"


def test_relion_shifts_and_subtomogram_angles(tmp_path: Path) -> None:
    names = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnOriginXAngst", "rlnOriginYAngst"]
    names += ["rlnOriginZAngst", "rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
    text = (
        "data_\n\nloop_\n" + "".join(f"_{name}\n" for name in names) + "10 20 30 1 2 4 0 0 0\n10 20 30 4 0 0 90 0 0\n"
    )
    (tmp_path / "p.star").write_text(text)
    centers = read_star(tmp_path / "p.star", voxel_size=10).centers_zyx
    np.testing.assert_allclose(centers, [[296, 198, 99], [300, 204, 100]])


def test_a_particle_is_turned_in_its_subtomogram_which_is_turned_in_the_tomogram(tmp_path: Path) -> None:
    columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    columns += ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
    head = "data_\n\nloop_\n" + "".join(f"_{name}\n" for name in columns)
    (tmp_path / "p.star").write_text(head + "1 2 3 10 20 30 -120 75 160\n")
    rotations = read_star(tmp_path / "p.star", voxel_size=10).rotations
    assert rotations is not None
    expected = relions_matrix(-120, 75, 160) @ relions_matrix(10, 20, 30)
    np.testing.assert_allclose(swap_axes(rotations)[0], expected, atol=1e-12)


def test_each_optics_group_has_its_own_pixel_size(tmp_path: Path) -> None:
    optics = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n2 4.0\n1 2.5\n\n"
    head = "data_particles\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnOpticsGroup\n"
    (tmp_path / "p.star").write_text(optics + head + "1 2 3 1\n1 2 3 2\n10 20 30 1\n")
    found = read_star(tmp_path / "p.star", voxel_size=99)
    np.testing.assert_allclose(found.centers_zyx, [[7.5, 5, 2.5], [12, 8, 4], [75, 50, 25]])


def test_without_names_of_groups_the_first_pixel_size_is_everyone_s(tmp_path: Path) -> None:
    head = "data_particles\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    named = ("data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnTomoTiltSeriesPixelSize\n2 4.0\n1 2.5\n\n", "1 2 3\n4 5 6\n")
    nameless = ("data_optics\n\nloop_\n_rlnTomoTiltSeriesPixelSize\n4.0\n\n", "1 2 3\n4 5 6\n")
    for optics, rows in (named, nameless):
        (tmp_path / "p.star").write_text(optics + head + rows)
        np.testing.assert_allclose(read_star(tmp_path / "p.star").centers_zyx, [[12, 8, 4], [24, 20, 16]])
    rows = "1 2 3 1\n4 5 6 1\n"
    (tmp_path / "p.star").write_text(nameless[0] + head + "_rlnOpticsGroup\n" + rows)
    np.testing.assert_allclose(read_star(tmp_path / "p.star").centers_zyx, [[12, 8, 4], [24, 20, 16]])


def test_relion_4_finds_the_optics_of_each_particle(tmp_path: Path) -> None:
    write_star(tmp_path / "p.star", table(3), voxel_size=VOXEL, relion=4)
    blocks = starfile.read(tmp_path / "p.star", always_dict=True)
    assert list(blocks) == ["optics", "particles"]
    assert blocks["particles"]["rlnOpticsGroup"].tolist() == [1, 1, 1]
    assert pd.DataFrame(blocks["optics"], index=[0])["rlnTomoTiltSeriesPixelSize"].tolist() == [VOXEL]


def test_shifts_of_0_need_no_pixel_size(tmp_path: Path) -> None:
    optics = "data_optics\n\nloop_\n_rlnTomoTiltSeriesPixelSize\n4.0\n\n"
    (tmp_path / "p.star").write_text(optics + RELION_3.replace("data_", "data_particles") + "TS_01 10 20 30 0 0 0\n")
    np.testing.assert_allclose(read_star(tmp_path / "p.star").centers_zyx, [[120, 80, 40]])


def test_centred_positions_ask_for_the_size_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    write_star(path, table(2), voxel_size=10, shape=SHAPE)
    blocks = starfile.read(path, always_dict=True)
    some = pd.DataFrame(blocks["voxpick"]).drop(columns="vpxTomogramSizeYAngst")
    for rest in ({}, {"voxpick": some}):
        starfile.write({"particles": blocks["particles"], **rest}, path)
        for known in ({}, {"shape": SHAPE}, {"voxel_size": 10}):
            with pytest.raises(VoxpickError, match=r"p\.star: .* from the tomogram's centre, so its size is needed"):
                read_star(path, **known)


def test_particles_are_numbered_in_each_tomogram_and_classes_by_name(tmp_path: Path) -> None:
    picks = Particles(np.ones((4, 3)), ["c", "a", "c", "b"], tomograms=np.array(["two", "one", "two", "one"]))
    write_star(tmp_path / "p.star", picks, voxel_size=10, shape=SHAPE)
    table = starfile.read(tmp_path / "p.star", always_dict=True)["particles"]
    assert table["rlnTomoParticleName"].tolist() == ["two/1", "one/1", "two/2", "one/2"]
    assert table["rlnClassNumber"].tolist() == [3, 1, 3, 2]


@pytest.mark.skipif(not PICKS.is_dir(), reason="needs ../shared/data/picks")
def test_real_files() -> None:
    expected = {
        "empiar11830_clathrin.star": (5999, "clathrin", "tomo_0404", [1400.001, 3336.0, 1491.999]),
        "empiar11830_nucleosome.star": (23878, "EMD-19906", "tomo_0003", [1457.213959, 3807.21396, 2661.213959]),
        "empiar11830_ps2.star": (3111, "PSII", "tomo_0024", [1041.465173, 3862.465173, 3726.465173]),
        "empiar10988_TS_037_cyto_ribosomes.csv": (1646, "particle", "tomogram", [286, 851, 147]),
        "empiar10988_TS_037_fas.csv": (22, "particle", "tomogram", [322, 881, 151]),
    }
    for name, (count, kind, tomogram, first) in expected.items():
        particles = read_particles(PICKS / name, voxel_size=2.0)
        assert (len(particles), particles.classes[0]) == (count, kind)
        assert particles.tomograms is not None and particles.tomograms[0] == tomogram
        np.testing.assert_allclose(particles.centers_zyx[0], np.array(first) * 2)


def test_csv_of_others(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("\ufeffName;Z;X;Y\na;1;2;3\n\n", encoding="utf-8")
    np.testing.assert_allclose(read_csv(path, voxel_size=10).centers_zyx, [[10, 30, 20]])
    np.testing.assert_allclose(read_csv(path, units="angstrom").centers_zyx, [[1, 3, 2]])
    with pytest.raises(VoxpickError, match=r"p\.csv.*unit.*--voxel-size"):
        read_csv(path)
    path.write_text("x_angstrom,y_angstrom,z_angstrom,rot_deg,tilt_deg\n1,2,3,40,50\n")
    found = read_csv(path)
    assert found.rotations is None and found.centers_zyx.tolist() == [[3, 2, 1]]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "x,y\n1,2\n", "'z' is missing"),
        ("a.csv", "x,y,z\n1,2,3\n1,two,3\n", "line 3: y is 'two'"),
        ("a.csv", "x,y,z\n1,nan,3\n", "line 2: y is 'nan'"),
        ("a.csv", "x,y,z\n1,2\n", "line 2: 2 values for 3 columns"),
        ("a.csv", "x,y,z\n1,2,3\n1,2,3,4\n", "line 3: 4 values for 3 columns"),
        ("a.csv", "x,y,X,z\n1,2,3,4\n", "has two columns x"),
        ("a.csv", "x,y,z,score\n1,2,3,7\n", "a.csv, line 2: score is 7; confidences lie in"),
        ("a.txt", "1s3x 1 2\n", "line 1: .*3 columns"),
        ("a.txt", "1s3x 1 2 3\n1s3x 1 2 q\n", "line 2: 'q' is not a number"),
        ("a.txt", "1s3x 1 2 nan\n", "line 1: 'nan'"),
        ("a.star", "hello\n", "not a STAR file"),
        ("a.star", "data_\n\nloop_\n_rlnFoo\n1\n", "no rlnCoordinateX"),
        ("a.star", "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n", "needs all of"),
        (
            "a.star",
            "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n1 b 3\n",
            "line 8: .*Y is b",
        ),
        (
            "a.star",
            "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n1 2\n",
            "line 8: 2 values for 3 columns",
        ),
        (
            "a.star",
            "".join(f"data_{k}\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n\n" for k in "ab"),
            "coordinates in two blocks, data_a and data_b",
        ),
        ("a.xyz", "1 2 3\n", "'?.xyz.* use one of .star"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VoxpickError, match=words):
        read_particles(tmp_path / name, voxel_size=10, shape=SHAPE)
    with pytest.raises(VoxpickError, match=r"missing.*no such file|names no particle format"):
        read_particles(tmp_path / f"missing{Path(name).suffix}")


STAR_HEAD = "data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"


@pytest.mark.parametrize("rest", ["# version 50001\n", "\n# version 50001\n\ndata_more\n\n_rlnFoo 1\n"])
def test_a_comment_behind_an_empty_table_is_no_row(tmp_path: Path, rest: str) -> None:
    (tmp_path / "p.star").write_text(STAR_HEAD + rest)
    assert len(read_star(tmp_path / "p.star", voxel_size=10)) == 0


def test_star_files_are_utf8_in_any_locale(tmp_path: Path) -> None:
    """They were refused by their own reader where the locale has another encoding."""
    code = (
        "import numpy as np; from voxpick.io.formats import write_particles; from voxpick.particles import Particles\n"
        "p = Particles(np.ones((1, 3)), classes=np.array(['prot\\xe9ine'], dtype=object))\n"
        "for s in ('star', 'cbox'): write_particles(f'p.{s}', p, voxel_size=10, shape=(12, 20, 28))\n"
    )
    environment = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    for suffix in ("star", "cbox"):
        assert read_particles(tmp_path / f"p.{suffix}", voxel_size=10).classes.tolist() == ["protéine"]


def test_names_of_tomograms_that_are_missing_beside_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    write_star(path, table(2), voxel_size=10, shape=SHAPE)
    expected, whole = read_star(path).centers_zyx, starfile.read(path, always_dict=True)
    particles, sizes = whole["particles"].drop(columns="rlnTomoName"), whole["voxpick"].iloc[:1]
    starfile.write({"particles": particles, "voxpick": sizes}, path)
    np.testing.assert_allclose(read_star(path).centers_zyx, expected)
    starfile.write({"particles": particles, "voxpick": pd.concat([sizes, sizes.assign(rlnTomoName="other")])}, path)
    with pytest.raises(VoxpickError, match=r"the particles table has no column rlnTomoName, .* of 2 sizes"):
        read_star(path)


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(VoxpickError, match=r"p\.star.*voxel size and shape"):
        write_particles(tmp_path / "p.star", table(2), voxel_size=10)
    with pytest.raises(VoxpickError, match="cannot hold the name 'a#b'"):
        write_star(tmp_path / "p.star", table(1).with_columns(classes=np.array(["a#b"])), voxel_size=1, shape=SHAPE)
    with pytest.raises(VoxpickError, match="unknown particle format 'box'; known: star, csv, shrec"):
        read_particles(tmp_path / "p.star", format="box")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("starfile.write", full)
    monkeypatch.setattr(Path, "write_text", full)
    for suffix in (".star", ".csv", ".txt"):
        with pytest.raises(VoxpickError, match=rf"p\{suffix}: cannot be written \(No space left"):
            write_particles(tmp_path / f"p{suffix}", Particles(np.ones((2, 3))), voxel_size=10, shape=SHAPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["abc", "0", "-5", "nan"])
def test_pixel_sizes_of_the_optics_table_are_numbers_above_0(tmp_path: Path, size: str) -> None:
    path = tmp_path / "p.star"
    write_star(path, Particles(np.array([[30, 50, 70.0]])), voxel_size=VOXEL, shape=SHAPE, relion=4)
    text = path.read_text()
    assert text.count(f"{VOXEL:.6f}") == 1
    head, _, tail = text.partition(f"{VOXEL:.6f}")
    path.write_text(f"{head}{size}{tail}")
    with pytest.raises(VoxpickError, match=r"p\.star: rlnTomoTiltSeriesPixelSize .* number above 0"):
        read_particles(path, voxel_size=VOXEL, shape=SHAPE)


def test_keys_that_are_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    write_star(path, table(2), voxel_size=VOXEL, shape=SHAPE, relion=4)
    expected, blocks = read_star(path, voxel_size=VOXEL, shape=SHAPE).centers_zyx, starfile.read(path, always_dict=True)
    optics = blocks["optics"]
    starfile.write(blocks | {"optics": pd.concat([optics, optics])}, path)
    np.testing.assert_allclose(read_star(path, voxel_size=VOXEL, shape=SHAPE).centers_zyx, expected)
    starfile.write(blocks | {"optics": pd.concat([optics, optics.assign(rlnTomoTiltSeriesPixelSize=3.0)])}, path)
    with pytest.raises(VoxpickError, match=r"the optics table has rlnOpticsGroup 1 twice, with different values"):
        read_star(path, voxel_size=VOXEL, shape=SHAPE)
    starfile.write(blocks | {"optics": pd.concat([optics, optics[["rlnTomoTiltSeriesPixelSize"]]], axis=1)}, path)
    with pytest.raises(VoxpickError, match=r"optics table has two columns rlnTomoTiltSeriesPixelSize"):
        read_star(path, voxel_size=VOXEL, shape=SHAPE)
    write_star(path, table(2), voxel_size=VOXEL, shape=SHAPE)
    expected, blocks = read_star(path).centers_zyx, starfile.read(path, always_dict=True)
    starfile.write(blocks | {"voxpick": pd.concat([blocks["voxpick"]] * 2)}, path)
    np.testing.assert_allclose(read_star(path).centers_zyx, expected)


@pytest.mark.parametrize("ends", ["\r", "\r\n"])
def test_line_ends_of_other_systems(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "p.star"
    write_star(path, table(3), voxel_size=VOXEL, shape=SHAPE)
    expected = read_star(path).centers_zyx
    path.write_bytes(path.read_bytes().replace(b"\n", ends.encode()))
    np.testing.assert_allclose(read_star(path).centers_zyx, expected)


def test_a_missing_optics_group_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    write_star(path, Particles(np.array([[30, 50, 70.0]])), voxel_size=VOXEL, shape=SHAPE, relion=4)
    blocks = starfile.read(path, always_dict=True)
    blocks["particles"]["rlnOpticsGroup"] = 3
    starfile.write(blocks, path)
    with pytest.raises(VoxpickError, match="optics group 3"):
        read_particles(path, voxel_size=VOXEL, shape=SHAPE)


def test_tomograms_of_unequal_shapes_are_centred_each_by_itself(tmp_path: Path) -> None:
    shapes = {"a": (40, 50, 60), "b": (100, 30, 80)}
    centers = np.array([[100.0, 200.0, 300.0], [900.0, 150.0, 20.0], [10.0, 20.0, 30.0]])
    picks = Particles(centers, tomograms=np.array(["a", "b", "a"], dtype=object))
    path = tmp_path / "two.star"
    write_star(path, picks, voxel_size=10.0, shape=shapes)
    blocks = starfile.read(path, always_dict=True)
    assert next(iter(blocks)) == "particles", "RELION 5 imports the first block"
    assert "optics" not in blocks and blocks["voxpick"]["rlnTomoName"].tolist() == ["a", "b"]
    x = blocks["particles"]["rlnCenteredCoordinateXAngst"].to_numpy()
    assert np.allclose(x, [300 - 300, 20 - 400, 30 - 300])
    assert np.allclose(read_star(path).centers_zyx, centers, atol=1e-3)
    for name, shape in shapes.items():
        of = picks.tomograms == name
        read = read_star(path, voxel_size=10.0, shape=shape)
        assert np.allclose(read.centers_zyx[of], centers[of], atol=1e-3)
    with pytest.raises(VoxpickError, match="of tomogram 'b'; shapes are given of a"):
        write_star(path, picks, voxel_size=10.0, shape={"a": (40, 50, 60)})


def test_a_tomogram_without_a_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.star"
    write_star(path, Particles(np.ones((2, 3))), voxel_size=10.0, shape=SHAPE)
    blocks = starfile.read(path, always_dict=True)
    frame = pd.DataFrame([blocks["voxpick"]]) if isinstance(blocks["voxpick"], dict) else blocks["voxpick"]
    starfile.write({"particles": blocks["particles"], "voxpick": frame.assign(rlnTomoName="other")}, path)
    with pytest.raises(VoxpickError, match="the table voxpick has no size of tomogram tomogram"):
        read_star(path)
    starfile.write({"particles": blocks["particles"], "voxpick": frame.assign(vpxTomogramSizeYAngst=0)}, path)
    with pytest.raises(VoxpickError, match="vpxTomogramSizeYAngst of the voxpick table is 0; it must be a number"):
        read_star(path)


def test_of_several_tomograms_the_one_without_a_size_is_named(tmp_path: Path) -> None:
    path, names = tmp_path / "p.star", np.array(["a", "b", "c"])
    write_star(path, table(3).with_columns(tomograms=names), voxel_size=10.0, shape=dict.fromkeys(names, SHAPE))
    blocks = starfile.read(path, always_dict=True)
    starfile.write({**blocks, "voxpick": blocks["voxpick"].iloc[[0, 2]]}, path)
    with pytest.raises(VoxpickError, match="the table voxpick has no size of tomogram b"):
        read_star(path)


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "twice.star"
    columns = ["rlnCoordinateX", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
    header = "".join(f"_{name} #{number}\n" for number, name in enumerate(columns, start=1))
    path.write_text(f"data_particles\n\nloop_\n{header}1.0 2.0 3.0 4.0\n5.0 6.0 7.0 8.0\n")
    with pytest.raises(VoxpickError, match="two columns rlnCoordinateX"):
        read_star(path, voxel_size=10.0)


@pytest.mark.parametrize("name", ["data_1", "_1", "loop_", "TS 2", "é"])
@pytest.mark.parametrize("count", [1, 3])
def test_names_that_look_like_star_syntax(tmp_path: Path, name: str, count: int) -> None:
    """A row that began with one of them was read as a block or a column, and the pick was lost."""
    path = tmp_path / "p.star"
    centers = np.arange(3.0 * count).reshape(count, 3)
    write_star(path, Particles(centers, tomograms=np.full(count, name)), voxel_size=VOXEL, shape=SHAPE)
    back = read_star(path)
    np.testing.assert_allclose(back.centers_zyx, centers, atol=1e-5)
    assert back.tomograms is not None and set(back.tomograms) == {name}
    write_import_list(path, {name: tmp_path / "a.star"})
    listed = starfile.read(path, always_dict=True)["tomograms"]
    assert listed["rlnTomoName"].tolist() == [name]


@pytest.mark.parametrize("name", ["a\tb", "a\rb", "a\u2028b", "a\nb", " "])
@pytest.mark.parametrize("suffix", [".star", ".cbox"])
def test_names_that_would_break_a_row_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    picks = Particles(np.ones((1, 3)), classes=np.array([name]))
    with pytest.raises(VoxpickError, match=r"cannot hold the name .* quotation marks and tabs"):
        write_particles(tmp_path / f"p{suffix}", picks, voxel_size=VOXEL, shape=SHAPE)
    assert list(tmp_path.iterdir()) == []


RELION_3 = """data_

loop_
_rlnMicrographName
_rlnCoordinateX
_rlnCoordinateY
_rlnCoordinateZ
_rlnOriginX
_rlnOriginY
_rlnOriginZ
"""


def test_shifts_of_relion_3_are_in_pixels_of_its_images(tmp_path):
    file = tmp_path / "old.star"
    file.write_text(RELION_3 + "TS_01 10 20 30 1 -2 0.5\n")
    np.testing.assert_allclose(read_star(file, voxel_size=8.0).centers_zyx, [[236.0, 176.0, 72.0]])
    camera = RELION_3 + "_rlnDetectorPixelSize\n_rlnMagnification\n"
    file.write_text(camera + "TS_01 10 20 30 1 -2 0.5 5.0 12500\n")  # images of 4 A, coordinates of 8 A
    np.testing.assert_allclose(read_star(file, voxel_size=8.0).centers_zyx, [[238.0, 168.0, 76.0]])
    file.write_text(camera + "TS_01 10 20 30 1 -2 0.5 5.0 0\n")
    with pytest.raises(VoxpickError, match="rlnMagnification of the particle table is 0"):
        read_star(file, voxel_size=8.0)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Tomograms/TS_01/TS_01.mrc", "TS_01"),
        ("TS_01.tomostar", "TS_01"),
        ("rec_TS_01.mrc.gz", "TS_01"),
        ("job/rec_TS_01.rec", "TS_01"),
        ("TS_01.ST", "TS_01"),
        ("Tomograms/TS_01.v2", "TS_01.v2"),
        ("TS_01.v2", "TS_01.v2"),
        ("rec_TS_01", "rec_TS_01"),
    ],
)
def test_tomograms_that_are_named_by_files(tmp_path, written, name):
    """As RELION 3 and Warp name them."""
    file = tmp_path / "old.star"
    file.write_text(RELION_3 + f"{written} 10 20 30 0 0 0\nTomograms/TS_02.mrc 10 20 30 0 0 0\n")
    assert read_star(file, voxel_size=8.0).tomograms.tolist() == [name, "TS_02"]


def test_tomograms_of_two_folders_stay_two(tmp_path):
    file = tmp_path / "old.star"
    file.write_text(RELION_3 + "a/TS_01.mrc 10 20 30 0 0 0\nb/TS_01.mrc 10 20 30 0 0 0\n")
    assert read_star(file, voxel_size=8.0).tomograms.tolist() == ["a/TS_01.mrc", "b/TS_01.mrc"]


@pytest.mark.parametrize("name", ["p.star", "p.cbox"])
def test_a_temporary_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch, name):
    write_particles(tmp_path / name, table(1), voxel_size=VOXEL, shape=SHAPE)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(VoxpickError, match=r"gone: cannot be written to .*set TMPDIR to another folder"):
        read_particles(tmp_path / name, voxel_size=VOXEL, shape=SHAPE)


@pytest.mark.parametrize(
    ("voxel_size", "shape", "told"),
    [
        (VOXEL, SHAPE, 0),
        (VOXEL * 1.001, SHAPE, 0),
        (2 * VOXEL, (6, 10, 14), 0),
        (2 * VOXEL, (6, 10, 13), 0),  # of 27 voxels binning drops one
        (2 * VOXEL, (6, 10, 11), 1),
        (VOXEL * 1.1, (120, 200, 280), 1),
    ],
)
def test_picks_read_under_another_voxel_size_are_told(tmp_path, recwarn, voxel_size, shape, told):
    written = SHAPE if shape[0] < 100 else shape
    size = f"{written[2] * VOXEL:g} x {written[1] * VOXEL:g} x {written[0] * VOXEL:g} A"
    write_star(tmp_path / "p.star", table(3), voxel_size=VOXEL, shape=written)
    read_star(tmp_path / "p.star", voxel_size=voxel_size, shape=shape)
    messages = [str(each.message) for each in recwarn]
    assert [f"was written of a tomogram of {size} (x, y, z)" in message for message in messages] == [True] * told


def test_one_size_of_several_tomograms_is_enough(tmp_path, recwarn):
    picks = table(2).with_columns(tomograms=np.array(["a", "b"], dtype=object))
    write_star(tmp_path / "p.star", picks, voxel_size=VOXEL, shape={"a": SHAPE, "b": (120, 200, 280)})
    read_star(tmp_path / "p.star", voxel_size=VOXEL, shape=SHAPE)
    assert not len(recwarn)
