"""Tomograms that a hand-written CSV calls by their files, and RELION's other files in the place of picks."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxpick.errors import VoxpickError
from voxpick.io.csv import read_csv
from voxpick.io.star import read_star, write_import_list

HEAD = "class,x_angstrom,y_angstrom,z_angstrom,tomogram\n"


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (("TS_01.mrc", "TS_02.mrc"), ["TS_01", "TS_02"]),
        (("tomograms/rec_TS_01.mrc.gz", "TS_02"), ["TS_01", "TS_02"]),
        (("TS_01.v2", "TS 2"), ["TS_01.v2", "TS 2"]),
        (("a/TS_01.mrc", "b/TS_01.mrc"), ["a/TS_01.mrc", "b/TS_01.mrc"]),
    ],
)
def test_a_csv_may_name_tomograms_by_their_files(tmp_path: Path, written: tuple[str, str], names: list[str]) -> None:
    """A STAR file could, and of a CSV train said that none of its tomograms was TS_01."""
    file = tmp_path / "picks.csv"
    file.write_text(HEAD + "".join(f"ribosome,10,20,30,{name}\n" for name in written))
    tomograms = read_csv(file).tomograms
    assert tomograms is not None and tomograms.tolist() == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_rlnTomoName\n_rlnTomoTiltSeriesStarFile\n_rlnTomoSizeX\nTS_01 TS_01.star 4000\n", "it lists tomograms, .*"),
        ("_rlnTomoParticlesFile\n_rlnTomoTomogramsFile\np.star t.star\n", "optimisation set; give the particles file"),
        ("_rlnFoo\n1\n", "found rlnFoo$"),
    ],
)
def test_other_files_of_relion_are_told_from_picks(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.star").write_text(f"data_global\n\nloop_\n{text}")
    with pytest.raises(VoxpickError, match=words):
        read_star(tmp_path / "t.star")


def test_the_list_for_relions_import_holds_no_picks(tmp_path: Path) -> None:
    write_import_list(tmp_path / "relion_import.star", {"TS_01": tmp_path / "TS_01.star"})
    with pytest.raises(VoxpickError, match="it lists files of picks; give one of those"):
        read_star(tmp_path / "relion_import.star")


@pytest.mark.parametrize(
    ("columns", "values", "optics", "size"),
    [
        ("_rlnDetectorPixelSize\n_rlnMagnification\n", "5.0 12500", "", 4),
        ("_rlnPixelSize\n", "4", "", 4),
        ("", "", "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 4.0\n\n", 4),
        ("_rlnPixelSize\n", "10.05", "", None),
        ("_rlnDetectorPixelSize\n_rlnMagnification\n", "0 0", "", None),
        ("_rlnDetectorPixelSize\n_rlnMagnification\n", "5.0 0", "", None),
        ("", "", "", None),
    ],
)
def test_images_of_another_pixel_size_are_told(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, columns: str, values: str, optics: str, size: float | None
) -> None:
    """Whether a program counts places in pixels of its tomogram or of its images the file does not say."""
    head = f"{optics}data_particles\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n{columns}"
    (tmp_path / "p.star").write_text(f"{head}1 2 3 {values}\n")
    assert read_star(tmp_path / "p.star", voxel_size=10).centers_zyx.tolist() == [[30, 20, 10]]
    told = [str(each.message) for each in recwarn]
    assert len(told) == (size is not None)
    assert size is None or "p.star: says 4 A a pixel, but positions are counted in the 10 A" in told[0]


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("experiment,particle_type,x,y,z", "TS_5,ribosome,1,2,3", "no column class and no column tomogram, and does"),
        ("particle_type,x,y,z,tomogram", "ribosome,1,2,3,TS_5", "no column class, and does not read particle_type;"),
        ("experiment,x,y,z,class", "TS_5,1,2,3,ribosome", "no column tomogram, and does not read experiment;"),
        ("note,x,y,z,class,tomogram", "good,1,2,3,ribosome,TS_5", None),
        ("id,x,y,z", "7,1,2,3", None),
    ],
)
def test_text_under_other_names_is_told(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, header: str, row: str, told: str | None
) -> None:
    """Tables whose tomograms are called experiments were read as one tomogram's, and all classes as one."""
    (tmp_path / "p.csv").write_text(f"{header}\n{row}\n")
    assert read_csv(tmp_path / "p.csv", voxel_size=10).centers_zyx.tolist() == [[30, 20, 10]]
    found = [str(each.message) for each in recwarn]
    assert len(found) == (told is not None) and (told is None or told in found[0])


def test_decimal_commas_are_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x_angstrom;y_angstrom;z_angstrom\n1,5;2;3\n")
    with pytest.raises(VoxpickError, match=r"line 2: x_angstrom is '1,5'; .* with a point for the decimals"):
        read_csv(tmp_path / "p.csv")
