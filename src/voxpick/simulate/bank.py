"""Sets of bead models: the built-in bank of the 12 SHREC'20 classes, its recipes, and the arrays a bank file holds."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.simulate.structures import BeadModel

STEP = 0.1  # A, of the stored positions
RESERVED = ("particle", "background", "0")
"""Names that stand for no class wherever picks are read or scored."""


@dataclass(frozen=True)
class Recipe:
    """How one class is made: its file below the data folder; for atoms the biological assembly (None: all chains of
    the file), for a map the molecular weight in kDa."""

    file: str
    source: str
    assembly: str | None = None
    mass_kda: float | None = None


def _pdb(name: str, assembly: str | None = None) -> Recipe:
    part = f"biological assembly {assembly}" if assembly else "all chains of the asymmetric unit"
    return Recipe(f"structures/{name}.pdb.gz", f"PDB {name.upper()}, {part}", assembly=assembly)


# In the order of the SHREC'20 class ids, 1 to 12.
SHREC20_RECIPES: dict[str, Recipe] = {
    "3cf3": _pdb("3cf3", "1"),
    "1s3x": _pdb("1s3x"),
    "1u6g": _pdb("1u6g"),
    "4cr2": Recipe("maps/polnet5A_4cr2.mrc", "polnet template map of PDB 4CR2, 5 A voxels", mass_kda=1309.28),
    "1qvr": _pdb("1qvr", "1"),
    "3h84": _pdb("3h84", "1"),
    "2cg9": _pdb("2cg9"),
    "3qm1": _pdb("3qm1", "1"),
    "3gl1": _pdb("3gl1"),
    "3d2f": _pdb("3d2f"),
    "4d8q": Recipe(
        "maps/4d8q_like_from_4v94_half0_10A.mrc",
        "one of the two complexes in the polnet template map of PDB 4V94 (it superseded 4D8Q), 10 A voxels",
        mass_kda=950.0,
    ),
    "1bxn": _pdb("1bxn", "1"),
}


def load_bank(names: Iterable[str] | None = None) -> dict[str, BeadModel]:
    """The built-in bead models by name, in the order of the SHREC'20 class ids or as asked for.

    Raises VoxpickError for a name that is not in the bank.
    """
    content = files("voxpick.data").joinpath("bank.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        bank = unpack_bank(dict(arrays))
    return bank if names is None else select(bank, names)


def select(bank: Mapping[str, BeadModel], names: Iterable[str]) -> dict[str, BeadModel]:
    """The named models of a bank, in the order of the names. Raises VoxpickError for one that is not there."""
    chosen = {}
    for name in names:
        if name not in bank:
            raise VoxpickError(f"unknown structure {name!r}; the bank holds {', '.join(bank)}")
        chosen[name] = bank[name]
    return chosen


def pack_bank(models: Iterable[BeadModel]) -> dict[str, np.ndarray]:
    """Plain arrays for a bank file: positions as int16 in steps of 0.1 A, electrons as float16, beads per model.

    Raises VoxpickError for a bad name, or a model too large for the steps (farther than 3276 A from its centre).
    """
    bank = list(models)
    if not bank:
        raise VoxpickError("a bank needs at least one structure")
    names = [model.name for model in bank]
    _require_names(names)
    for model in bank:
        if np.abs(model.positions_zyx).max() > 32767 * STEP or model.electrons.max() > 65504:
            raise VoxpickError(f"structure {model.name}: too large for a bank; is its voxel size right?")
    positions = np.concatenate([model.positions_zyx for model in bank])
    return {
        "names": np.array(names),
        "counts": np.array([len(model.electrons) for model in bank], dtype=np.int32),
        "positions_zyx": np.ascontiguousarray(np.round(positions / STEP).astype(np.int16).T),
        "electrons": np.concatenate([model.electrons for model in bank]).astype(np.float16),
        "molecular_weights_kda": np.array([model.molecular_weight_kda for model in bank]),
        "sources": np.array([model.source for model in bank]),
    }


def unpack_bank(arrays: Mapping[str, np.ndarray]) -> dict[str, BeadModel]:
    """The inverse of `pack_bank`. Raises VoxpickError when arrays are missing or do not fit each other."""
    keys = ("names", "counts", "positions_zyx", "electrons", "molecular_weights_kda", "sources")
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise VoxpickError(f"not a bank of structures: {', '.join(missing)} missing")
    names, counts, packed, electrons, weights, sources = (arrays[key] for key in keys)
    kinds = {"names": "U", "counts": "iu", "positions_zyx": "iuf", "electrons": "iuf", "molecular_weights_kda": "iuf"}
    for key, kind in kinds.items():
        if arrays[key].dtype.kind not in kind or arrays[key].ndim != 1 + (key == "positions_zyx"):
            raise VoxpickError(
                f"not a bank of structures: {key} is an array of {arrays[key].dtype} of shape {arrays[key].shape}"
            )
    if not len(names) or len(packed) != 3:
        raise VoxpickError(f"not a bank of structures: {len(names)} names, positions of {len(packed)} coordinates")
    _require_names([str(name) for name in names])
    total = int(counts.sum())
    if not len(names) == len(counts) == len(weights) == len(sources) or not packed.shape[1] == len(electrons) == total:
        raise VoxpickError(f"not a bank of structures: {len(names)} names, {total} beads, positions {packed.shape}")
    positions = packed.T.astype(np.float32) * np.float32(STEP)
    ends = np.cumsum(counts)
    return {
        str(name): BeadModel(
            str(name), positions[end - n : end], electrons[end - n : end].astype(np.float32), float(weight), str(source)
        )
        for name, n, end, weight, source in zip(names, counts, ends, weights, sources, strict=True)
    }


def _require_names(names: Sequence[str]) -> None:
    """Raise VoxpickError for names of structures that are not unique, or that lists of particles would not keep."""
    for name in names:
        if not name or any(c.isspace() or c == "," for c in name) or names.count(name) > 1:
            raise VoxpickError(f"structure name {name!r}: names are unique, not empty and hold no space or comma")
        if name.startswith("#") or name.lower() in RESERVED:
            raise VoxpickError(
                f"structure name {name!r}: lists of particles would not keep it, as names do not begin with # and are "
                f"none of {', '.join(RESERVED)}; choose another name"
            )
