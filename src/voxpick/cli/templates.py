"""Templates for `voxpick match`, from names of built-in structures and from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.match.bank import Template
    from voxpick.simulate.structures import BeadModel
    from voxpick.volume import Volume


def read_templates(names: list[str], volume: Volume) -> list[Template]:
    """Templates at the voxel size of `volume`, in the order of names; no name at all takes the twelve built-in ones.

    A name is that of a built-in structure, or a file: PDB, mmCIF, a density map (MRC, bright, of the same voxel size,
    centred), or a bank of structures (.npz), which gives all it holds. A map whose header has no voxel size is taken to
    have the volume's, with a warning.
    """
    from voxpick.io.structures import structure_kind
    from voxpick.match.bank import Template
    from voxpick.methods.template_matching import bead_templates
    from voxpick.simulate.bank import load_bank

    found: list[Template] = []
    for name in names:
        path = Path(name)
        if _is_built_in(path):
            found += bead_templates(load_bank([name]), volume)
        elif path.suffix != ".npz" and structure_kind(path) == "map":
            found.append(Template(_label(path), *_read_map(path, volume)))
        else:
            found += bead_templates(_bead_models(path), volume)
    if not names:
        found = bead_templates(load_bank(), volume)
    labels = [template.name for template in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise VoxpickError(f"two templates are called {twice}; rename one of the files")
    return found


def check_templates(names: list[str]) -> None:
    """Raise VoxpickError, before any tomogram is read, for names of no built-in structure and of no such file."""
    from voxpick.io.structures import structure_kind
    from voxpick.simulate.bank import load_bank

    for name in names:
        path = Path(name)
        if _is_built_in(path):
            load_bank([name])
        elif path.suffix != ".npz":
            structure_kind(path)
        if not (_is_built_in(path) or path.is_file()):
            raise VoxpickError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give --template a file")


def _is_built_in(path: Path) -> bool:
    return not (path.is_file() or path.suffix or len(path.parts) > 1)


def _bead_models(path: Path) -> dict[str, BeadModel]:
    from voxpick.cli.structures import read_bank
    from voxpick.io.structures import assemblies, read_atoms
    from voxpick.simulate.beads import beads_from_atoms

    if path.suffix == ".npz":
        return read_bank(path)
    positions, electrons, weight = read_atoms(path, assembly=next(iter(assemblies(path)), None))
    label = _label(path)
    return {label: beads_from_atoms(label, positions, electrons, molecular_weight_kda=weight)}


def _read_map(path: Path, volume: Volume) -> tuple[np.ndarray, float]:
    """A map of the volume's voxel size, and that size in A.

    Raises VoxpickError for another size, and for a header that has to be mended: --voxel-size is the tomogram's.
    """
    import typer

    from voxpick.io.mrc_header import cubic_voxel_size, read_header
    from voxpick.io.structures import read_map

    header = read_header(path)
    mend = (
        f'mend the header, for voxels of {volume.voxel_size:g} A with: python -c "import mrcfile; '
        f"mrcfile.open('{path}', 'r+').voxel_size = {volume.voxel_size:g}\""
    )
    if any(header.voxel_size_xyz):
        try:
            cubic_voxel_size(header, path)
        except VoxpickError as error:
            sizes = " x ".join(f"{size:g}" for size in header.voxel_size_xyz)
            raise VoxpickError(
                f"{path}: the header gives voxels of {sizes} A (x, y, z), and a template needs cubes of the tomogram's "
                f"size; resample the map if that is what it has, and if not, {mend}"
            ) from error
        data, voxel_size = read_map(path)
    else:
        data, voxel_size = read_map(path, voxel_size=volume.voxel_size)
        typer.echo(f"voxpick: warning: {path}: no voxel size in the header; taken to be {voxel_size:g} A", err=True)
    if abs(voxel_size / volume.voxel_size - 1) > 0.01:
        if voxel_size == 1.0:
            raise VoxpickError(
                f"{path}: the header gives a voxel size of 1 A, which is what programs write that do not know it, and "
                f"{volume.name} has voxels of {volume.voxel_size:g} A; resample the map if 1 A is right, and if not, "
                f"{mend}"
            )
        raise VoxpickError(
            f"{path}: the map has voxels of {voxel_size:g} A and {volume.name} of {volume.voxel_size:g} A; resample "
            f"the map to {volume.voxel_size:g} A, or set the tomogram's voxel size with --voxel-size if it is wrong"
        )
    return data, voxel_size


def _label(path: Path) -> str:
    return path.name.split(".")[0].lower()
