"""Atoms, maps and banks on disk, and what happens to bad files."""

import gzip
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.io.structures import assemblies, read_arrays, read_atoms, read_map, structure_kind, write_arrays

HEADER = "HEADER    TEST"
ASSEMBLY = """REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       50.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000"""
ATOMS = """ATOM      1  N   ALA A   1      11.000   2.000   3.000  1.00 10.00           N
ATOM      2  CA AALA A   1      12.000   2.500   3.500  0.60 10.00           C
ATOM      3  CA BALA A   1      12.500   2.500   3.500  0.40 10.00           C
TER
ATOM      4  S   CYS B   1      20.000   5.000   7.000  1.00 10.00           S
HETATM    5  O   HOH B   2      90.000  90.000  90.000  1.00 10.00           O"""


def _pdb(folder: Path, *parts: str, name: str = "small.pdb") -> Path:
    path = folder / name
    path.write_text("\n".join(parts) + "\n")
    return path


def test_atoms_without_water_and_alternatives(tmp_path: Path) -> None:
    path = _pdb(tmp_path, HEADER, ASSEMBLY, ATOMS, "END")
    positions, electrons, kda = read_atoms(path)
    np.testing.assert_allclose(positions, [[3, 2, 11], [3.5, 2.5, 12], [7, 5, 20]])
    np.testing.assert_array_equal(electrons, [8, 7, 17])
    assert kda * 1000 == pytest.approx(14.007 + 12.011 + 32.06 + 3 * 1.008, abs=0.02)


def test_hydrogens_in_the_file_are_not_counted_twice(tmp_path: Path) -> None:
    hydrogen = "ATOM      6  H   ALA A   1      11.500   2.000   3.000  1.00 10.00           H"
    electrons = read_atoms(_pdb(tmp_path, HEADER, hydrogen, ATOMS, "END"))[1]
    assert sorted(electrons) == [1, 6, 7, 16]


def test_a_few_hydrogens_in_the_file_count_as_none(tmp_path: Path) -> None:
    lines = [
        f"ATOM  {k:5d}  CA  GLY A{k:4d}      {k:2d}.000   2.000   3.000  1.00 10.00           C" for k in range(1, 31)
    ]
    hydrogen = "ATOM     31  H   GLY A  31      31.000   2.000   3.000  1.00 10.00           H"
    positions, electrons, kda = read_atoms(_pdb(tmp_path, HEADER, *lines, hydrogen, "END"))
    assert len(positions) == 30 and set(electrons) == {7}
    assert kda * 1000 == pytest.approx(30 * (12.011 + 1.008), abs=0.02)


def test_unoccupied_atoms_give_way_to_alternatives(tmp_path: Path) -> None:
    hidden = ATOMS.replace("0.60", "0.00")
    positions = read_atoms(_pdb(tmp_path, HEADER, hidden, "END"))[0]
    np.testing.assert_allclose(positions, [[3, 2, 11], [3.5, 2.5, 12.5], [7, 5, 20]])
    model = ATOMS.replace("1.00 10", "0.00 10").replace("0.60", "0.00").replace("0.40", "0.00")
    assert len(read_atoms(_pdb(tmp_path, HEADER, model, "END"))[0]) == 3


def test_of_several_models_the_first_is_taken_and_told(tmp_path: Path) -> None:
    path = _pdb(tmp_path, HEADER, "MODEL        1", ATOMS, "ENDMDL", "MODEL        2", ATOMS, "ENDMDL", "END")
    with pytest.warns(UserWarning, match=r"small\.pdb: 2 models in the file; the first is taken"):
        assert len(read_atoms(path)[0]) == 3


def test_an_assembly_of_a_chain_that_is_not_there(tmp_path: Path) -> None:
    path = _pdb(tmp_path, HEADER, ASSEMBLY.replace("CHAINS: A", "CHAINS: A, E"), ATOMS, "END")
    with pytest.raises(VoxpickError, match=r"small\.pdb: biological assembly '1' .*no chain E.*--all-chains"):
        read_atoms(path, assembly="1")


def test_biological_assembly(tmp_path: Path) -> None:
    path = _pdb(tmp_path, HEADER, ASSEMBLY, ATOMS, "END")
    assert assemblies(path) == ["1"]
    positions, _, _ = read_atoms(path, assembly="1")
    np.testing.assert_allclose(positions, [[3, 2, 11], [3.5, 2.5, 12], [3, -2, 39], [3.5, -2.5, 38]])
    with pytest.raises(VoxpickError, match="'7'; the file has 1"):
        read_atoms(path, assembly="7")
    with pytest.raises(VoxpickError, match="--all-chains"):
        read_atoms(_pdb(tmp_path, HEADER, ATOMS, "END", name="plain.pdb"), assembly="1")


def test_mmcif_equals_pdb(tmp_path: Path) -> None:
    import gemmi

    path = _pdb(tmp_path, HEADER, ATOMS, "END")
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    (tmp_path / "small.cif").write_text(text)
    np.testing.assert_allclose(read_atoms(tmp_path / "small.cif")[0], read_atoms(path)[0])
    for rest in (5, 30, 60):
        (tmp_path / "short.cif").write_text(text.rstrip()[:-rest])
        with pytest.raises(VoxpickError, match=r"short\.cif.*cut short"):
            read_atoms(tmp_path / "short.cif")


def test_whole_mmcif_files_with_other_ends_are_read(tmp_path: Path) -> None:
    """Without a last newline, or without the # that closes the last table, which is told."""
    import gemmi

    path = _pdb(tmp_path, HEADER, ATOMS, "END")
    text = gemmi.read_structure(str(path)).make_mmcif_document().as_string()
    (tmp_path / "open.cif").write_text(text.rstrip())
    np.testing.assert_allclose(read_atoms(tmp_path / "open.cif")[0], read_atoms(path)[0])
    (tmp_path / "closed.cif").write_text("data_x\n#\n_made.by hand\n#\n" + text.split("\n", 1)[1])
    with pytest.warns(UserWarning, match=r"closed\.cif: may be cut short"):
        found = read_atoms(tmp_path / "closed.cif")[0]
    np.testing.assert_allclose(found, read_atoms(path)[0])


def test_bad_atom_files(tmp_path: Path) -> None:
    with pytest.raises(VoxpickError, match="no such file"):
        read_atoms(tmp_path / "absent.pdb")
    with pytest.raises(VoxpickError, match="END line is missing"):
        read_atoms(_pdb(tmp_path, HEADER, ATOMS))
    with pytest.raises(VoxpickError, match="cut short in the line"):
        read_atoms(_pdb(tmp_path, ATOMS[:-40]))
    with pytest.raises(VoxpickError, match="no atoms"):
        read_atoms(_pdb(tmp_path, HEADER, "END"))
    with pytest.raises(VoxpickError, match="no atoms besides water"):
        read_atoms(_pdb(tmp_path, HEADER, ATOMS.splitlines()[-1], "END"))
    whole = gzip.compress("\n".join([HEADER, ATOMS, "END"]).encode())
    (tmp_path / "half.pdb.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VoxpickError, match="cut short"):
        read_atoms(tmp_path / "half.pdb.gz")
    (tmp_path / "text.pdb.gz").write_text("not gzip")
    with pytest.raises(VoxpickError, match="not a readable PDB"):
        read_atoms(tmp_path / "text.pdb.gz")


def test_kinds() -> None:
    assert structure_kind("A.PDB.gz") == "atoms" and structure_kind("x.cif") == "atoms"
    assert structure_kind("x.mrc") == "map"
    with pytest.raises(VoxpickError, match=r"x\.docx: unknown type"):
        structure_kind("x.docx")


def _map(path: Path, data: np.ndarray, voxel_size: float) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = voxel_size
    return path


def test_map_and_axis_order(tmp_path: Path) -> None:
    data = np.random.default_rng(1).random((12, 20, 28), dtype=np.float32)
    path = _map(tmp_path / "m.mrc", data, 4.0)
    found, size = read_map(path)
    np.testing.assert_array_equal(found, data)
    assert size == 4.0 and read_map(path, voxel_size=7.0)[1] == 7.0
    turned = _map(tmp_path / "t.mrc", np.ascontiguousarray(data.transpose(2, 0, 1)), 4.0)  # slices x, rows z, columns y
    with mrcfile.open(turned, "r+") as mrc:
        mrc.header.maps, mrc.header.mapr, mrc.header.mapc = 1, 3, 2
    np.testing.assert_array_equal(read_map(turned, voxel_size=4.0)[0], data)


def test_bad_maps(tmp_path: Path) -> None:
    data = np.ones((12, 20, 28), np.float32)
    with pytest.raises(VoxpickError, match=r"zero\.mrc: .* voxel size of 0 .*--voxel-size"):
        read_map(_map(tmp_path / "zero.mrc", data, 0.0))
    with pytest.raises(VoxpickError, match="2-D"):
        read_map(_map(tmp_path / "flat.mrc", data[0], 1.0), voxel_size=1.0)
    whole = _map(tmp_path / "whole.mrc", data, 5.0).read_bytes()
    (tmp_path / "half.mrc").write_bytes(whole[:9000])
    (tmp_path / "text.mrc").write_text("not a map")
    for name in ("half.mrc", "text.mrc"):
        with pytest.raises(VoxpickError, match=rf"{name}: .*(truncated|not an MRC file)"):
            read_map(tmp_path / name)
    with pytest.raises(VoxpickError, match="no such file"):
        read_map(tmp_path / "absent.mrc")


def test_arrays(tmp_path: Path) -> None:
    write_arrays(tmp_path / "bank.npz", {"a": np.arange(3)})
    np.testing.assert_array_equal(read_arrays(tmp_path / "bank.npz")["a"], [0, 1, 2])
    (tmp_path / "bad.npz").write_bytes((tmp_path / "bank.npz").read_bytes()[:50])
    with pytest.raises(VoxpickError, match="not a bank"):
        read_arrays(tmp_path / "bad.npz")
    with pytest.raises(VoxpickError, match="no such file"):
        read_arrays(tmp_path / "absent.npz")
    with pytest.raises(VoxpickError, match=r"bank\.txt.*\.npz"):
        write_arrays(tmp_path / "bank.txt", {})
