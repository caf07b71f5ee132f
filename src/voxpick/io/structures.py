"""Atomic models (PDB, mmCIF), density maps (MRC) and bank files (npz) from and to disk."""

from __future__ import annotations

import gzip
import warnings
import zipfile
import zlib
from pathlib import Path

import gemmi
import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.atomic import atomic_path
from voxpick.io.mrc import read_mrc

ATOM_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
MAP_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec")
HYDROGEN_DALTON = 1.008
FEW_HYDROGENS = 0.1
"""Hydrogens a heavy atom below which a file counts as one without them; whole molecules have about one."""


def structure_kind(path: str | Path) -> str:
    """'atoms' or 'map', from the name of the file (.gz allowed). Raises VoxpickError for any other."""
    name = Path(path).name.lower().removesuffix(".gz")
    if name.endswith(ATOM_SUFFIXES):
        return "atoms"
    if name.endswith(MAP_SUFFIXES):
        return "map"
    raise VoxpickError(
        f"{path}: unknown type of structure file; use one of {', '.join(ATOM_SUFFIXES + MAP_SUFFIXES)} (.gz allowed)"
    )


def read_atoms(path: str | Path, *, assembly: str | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions (n, 3) zyx in A, electrons (n,) and molecular weight in kDa of the first model, without water.

    assembly: name of a biological assembly in the file; None takes all chains as they are. A heavy atom counts its
    atomic number and one electron (and 1.008 Da) for its hydrogens, unless the file holds hydrogens; fewer than one for
    ten heavy atoms are left out, as if there were none.
    Atoms of occupancy 0 are left out, unless all are; of alternative conformations the first of the rest is taken.
    Warns of a file with several models. Raises VoxpickError for a file that is missing, not readable, cut short,
    without atoms, or without that assembly or one of its chains.
    """
    structure = _read_structure(path)
    if len(structure) > 1:
        warnings.warn(f"{path}: {len(structure)} models in the file; the first is taken", stacklevel=2)
    structure.setup_entities()
    structure.remove_waters()
    _remove_unoccupied(structure[0])
    structure.remove_alternative_conformations()
    model = structure[0] if assembly is None else _assembled(structure, assembly, path)
    atoms = [atom for chain in model for residue in chain for atom in residue]
    if not atoms:
        raise VoxpickError(f"{path}: no atoms besides water; give a file that holds coordinates")
    heavy = [atom for atom in atoms if not atom.is_hydrogen()]
    implicit = len(atoms) - len(heavy) < FEW_HYDROGENS * len(heavy)
    atoms = heavy if implicit else atoms
    positions = np.array([atom.pos.tolist()[::-1] for atom in atoms])
    if not np.isfinite(positions).all():
        raise VoxpickError(f"{path}: an atom has no finite position")
    electrons = np.array([atom.element.atomic_number for atom in atoms], dtype=np.float64)
    daltons = np.array([atom.element.weight for atom in atoms])
    unknown = electrons == 0
    electrons[unknown], daltons[unknown] = 6, 12.011  # an atom without a known element counts as carbon
    if implicit:
        electrons += 1
        daltons += HYDROGEN_DALTON
    return positions, electrons, float(daltons.sum()) / 1000


def assemblies(path: str | Path) -> list[str]:
    """Names of the biological assemblies that a PDB or mmCIF file lists; may be empty."""
    return [entry.name for entry in _read_structure(path).assemblies]


def read_map(path: str | Path, *, voxel_size: float | None = None) -> tuple[np.ndarray, float]:
    """A density map as float32 [z, y, x] and its voxel size in A (the header's, or the one given).

    Raises VoxpickError for a file that is not a whole MRC map, NaN, or a voxel size that is 0 or differs between axes.
    """
    volume = read_mrc(path, voxel_size=voxel_size, memory_map=False)
    return volume.data, volume.voxel_size


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file (a bank of structures). Raises VoxpickError when it is missing or not one."""
    if Path(path).is_dir():
        raise VoxpickError(f"{path}: is a folder; give a bank of structures (.npz)")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise VoxpickError(f"{path}: no such file") from None
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise VoxpickError(
            f"{path}: not a bank of structures, or damaged; make one with 'voxpick structures build'"
        ) from error


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz file, whole or not at all. Raises VoxpickError for a name that does not end in .npz."""
    if Path(path).suffix != ".npz":
        raise VoxpickError(f"{path}: a bank of structures is a .npz file; name it {Path(path).stem}.npz")
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _read_structure(path: str | Path) -> gemmi.Structure:
    if not Path(path).is_file():
        raise VoxpickError(f"{path}: no such file")
    try:
        _refuse_cut_short(path)
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, IndexError, OSError, EOFError, zlib.error) as error:
        raise VoxpickError(f"{path}: not a readable PDB or mmCIF file, or cut short ({error})") from error
    if len(structure) == 0:
        raise VoxpickError(f"{path}: no atoms; give a file that holds coordinates")
    return structure


def _refuse_cut_short(path: str | Path) -> None:
    """A PDB file that ends inside an atom line, or was deposited (HEADER) but has lost its END, is not whole. Rows of
    an mmCIF file that lack columns are refused by gemmi; one whose tables are closed by # except the last may be whole,
    so that is a warning."""
    opened = gzip.open if str(path).lower().endswith(".gz") else open
    with opened(path, "rt", encoding="latin-1") as file:
        text = file.read()
    lines = text.rstrip().splitlines()
    if not Path(path).name.lower().removesuffix(".gz").endswith((".pdb", ".ent")):
        closed = "#" in (line.strip() for line in lines[:10])
        if closed and not lines[-1].startswith("#"):
            warnings.warn(f"{path}: may be cut short, as its last table is not closed by #", stacklevel=2)
        return
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    if atoms and len(atoms[-1].rstrip()) < 54:
        raise VoxpickError(f"{path}: cut short in the line {atoms[-1]!r}; fetch the file again")
    deposited = any(line.startswith("HEADER") for line in lines[:5])
    if deposited and not any(line.startswith("END") for line in lines[-3:]):
        raise VoxpickError(f"{path}: cut short, the END line is missing; fetch the file again")


def _assembled(structure: gemmi.Structure, assembly: str, path: str | Path) -> gemmi.Model:
    found = [entry for entry in structure.assemblies if entry.name == assembly]
    if not found:
        names = ", ".join(entry.name for entry in structure.assemblies) or "none; use --all-chains"
        raise VoxpickError(f"{path}: no biological assembly {assembly!r}; the file has {names}")
    try:
        return gemmi.make_assembly(found[0], structure[0], gemmi.HowToNameCopiedChain.Dup)
    except RuntimeError as error:
        raise VoxpickError(
            f"{path}: biological assembly {assembly!r} cannot be built ({error}); use --all-chains, or a file that "
            "holds all its chains"
        ) from error


def _remove_unoccupied(model: gemmi.Model) -> None:
    """Drop the atoms of occupancy 0, unless all have that."""
    residues = [residue for chain in model for residue in chain]
    if not any(atom.occ > 0 for residue in residues for atom in residue):
        return
    for residue in residues:
        for k in reversed(range(len(residue))):
            if not residue[k].occ > 0:
                del residue[k]
