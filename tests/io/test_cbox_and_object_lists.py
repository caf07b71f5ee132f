"""crYOLO boxes and DeepFinder object lists: by hand, as written, real and hostile files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile

from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.shrec import read_locations
from voxpick.particles import Particles

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def test_cbox_by_hand(tmp_path: Path) -> None:
    """x and y are corners, z is the centre's section; <NA> is no confidence."""
    head = "data_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n"
    columns = ["CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth", "Confidence", "NumBoxes"]
    rows = "10 20 30 8 6 4 0.25 <NA>\n1 2 3 4 4 <NA> <NA> <NA>\n"
    rest = "\ndata_cryolo_include\n\nloop_\n_slice_index #1\n30\n"
    path = tmp_path / "TS_1.cbox"
    path.write_text(head + "".join(f"_{name} #{k}\n" for k, name in enumerate(columns, start=1)) + rows + rest)
    found = read_particles(path, voxel_size=10)
    np.testing.assert_allclose(found.centers_zyx, [[300, 230, 140], [30, 40, 30]])
    assert found.scores is not None and found.tomograms is not None
    assert found.scores.tolist() == [0.25, 1] and found.tomograms[0] == "TS_1" and found.classes[0] == "particle"


def test_cbox_as_written(tmp_path: Path) -> None:
    write_particles(tmp_path / "p.cbox", Particles(np.array([[30, 230, 140.0]])), voxel_size=10)
    blocks = starfile.read(tmp_path / "p.cbox", always_dict=True)
    wanted = "CoordinateX CoordinateY CoordinateZ Width Height Depth EstWidth EstHeight Confidence NumBoxes Angle"
    assert list(blocks["cryolo"].columns) == [*wanted.split(), "vpxClassName"]
    assert blocks["cryolo"].iloc[0].tolist()[:6] == [4, 13, 3, 20, 20, 20]
    assert list(blocks) == ["global", "cryolo", "cryolo_include"]


def test_deepfinder_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "p.xml"
    text = '<object tomo_idx="3" class_label="2" x="1" y="2" z="3" cluster_size="{}" psi="1" phi="2" the="3"/>\n'
    path.write_text("<objlist>\n" + text.format(40) + text.format(90) + "</objlist>")
    found = read_particles(path, voxel_size=10)
    np.testing.assert_allclose(found.centers_zyx, [[30, 20, 10]] * 2)
    assert found.scores is not None and found.scores.tolist() == [0, 1] and found.rotations is None
    assert found.tomograms is not None and (found.tomograms[0], found.classes[0]) == ("3", "2")
    picks = Particles(np.array([[30, 20, 10.0]]), classes=np.array(["<a> & \"b\" 'c'"]), scores=np.array([0.25]))
    write_particles(path, picks, voxel_size=10)
    back = read_particles(path, voxel_size=10)
    assert back.classes.tolist() == picks.classes.tolist() and back.scores is not None and back.scores[0] == 0.25


@needs_data
def test_real_object_lists() -> None:
    """A tomogram's own list is its part of the training list; positions lie in the specimen, as in SHREC'19's text."""
    folder = DATA / "shrec19_ground_truth"
    train = read_particles(folder / "object_list_train.xml", voxel_size=10)
    assert train.tomograms is not None and len(train) == 22446
    for name, tomogram, count in (("tomo0", "0", 2498), ("valid", "8", 2490)):
        own = read_particles(folder / f"object_list_{name}.xml", voxel_size=10)
        part = train[train.tomograms == tomogram]
        assert len(own) == count and part.classes.tolist() == own.classes.tolist()
        np.testing.assert_array_equal(part.centers_zyx, own.centers_zyx)
    text = read_locations(folder / "particle_locations_model_9.txt", year=2019)
    for picks in (train, text):
        voxels = picks.voxels(10)
        assert voxels.min() >= 0 and voxels[:, 0].max() < 200 < voxels[:, 1].max() < 512 > voxels[:, 2].max() > 200
    assert sorted(set(train.classes), key=int) == [str(k) for k in range(1, 13)]


BOMB = '<!DOCTYPE objlist [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {chr(98 + k)} "{f"&{chr(97 + k)};" * 10}">' for k in range(20)
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "p.xml"
    path.write_bytes((BOMB + ']>\n<objlist><object x="&u;" y="1" z="1" class_label="1"/></objlist>').encode(encoding))
    with pytest.raises(VoxpickError, match=r"p\.xml: has a document type"):
        read_particles(path, voxel_size=10)
