"""voxpick structures: make bead models from structure files, and list them with their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.simulate.structures import BeadModel

PATIENCE_SECONDS = 60.0
"""How long structures wait for those that another process writes into the same folder."""


def register(app: typer.Typer) -> None:
    """Add the command group `structures`."""
    group = typer.Typer(
        help="Make the molecules to simulate from structure files, and list them.", no_args_is_help=True
    )
    group.command("build", short_help="Turn a structure file into a compact bead model.")(build)
    group.command("list", short_help="List the structures of a bank.")(list_bank)
    app.add_typer(group, name="structures", short_help="Make or list the molecules to simulate from.")


UNUSED = {
    "atoms": ("threshold", "voxel_size"),
    "map": ("assembly", "all_chains"),
    "recipe": ("name", "mass_kda", "cell_size", "threshold", "assembly", "all_chains", "voxel_size"),
}
"""Options that have nothing to do for a file of atoms, a density map, or a recipe."""


def build(
    context: typer.Context,
    source: Path = typer.Argument(
        ..., help="A PDB, mmCIF (.gz allowed) or MRC density file; with --recipe, the folder that holds the files."
    ),
    output_file: Path | None = typer.Argument(None, metavar="[OUTPUT]", help="The .npz file to write (or --output)."),
    output: Path | None = typer.Option(None, "--output", "-o", help="The .npz file to write."),
    name: str | None = typer.Option(None, "--name", help="Name of the molecule; the file's name if not given."),
    assembly: str | None = typer.Option(
        None, "--assembly", help="Which biological assembly to build; the first in the file if not given."
    ),
    all_chains: bool = typer.Option(False, "--all-chains", help="Take all chains of the file as they are."),
    mass_kda: float | None = typer.Option(
        None, "--mass-kda", help="Molecular weight in kDa. Needed for a density map, whose scale is arbitrary."
    ),
    voxel_size: float | None = typer.Option(
        None, "--voxel-size", help="Voxel size of the map in A, if its header is wrong."
    ),
    threshold: float | None = typer.Option(
        None, "--threshold", help="Lowest map value that is molecule; 5 % of the maximum if not given."
    ),
    cell_size: float | None = typer.Option(
        None, "--cell-size", help="Distance between beads in A; 4.5 for atoms and 6 for maps if not given."
    ),
    append: bool = typer.Option(False, "--append", help="Add to the structures already in OUTPUT."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUTPUT and the structures in it."),
    builtin: bool = typer.Option(False, "--with-builtin", help="Add the 12 built-in structures to OUTPUT as well."),
    recipe: str | None = typer.Option(
        None, "--recipe", help="'shrec20' builds the 12 classes of SHREC'20 from a folder."
    ),
) -> None:
    """Turn a structure file into a compact bead model, and show its weight, volume, surface and shape."""
    target = output or output_file
    if target is None or (output and output_file):
        raise VoxpickError("name one output file, for example --output my_structures.npz")
    if all_chains and assembly:
        raise VoxpickError(f"--all-chains and --assembly {assembly} exclude each other; give one of them")
    if threshold is not None and not math.isfinite(threshold):
        raise VoxpickError(f"--threshold {threshold:g}: give a number, in the units of the map")
    if append and overwrite:
        raise VoxpickError("--append and --overwrite exclude each other; give one of them")
    _refuse_unused(context, source, recipe)
    from voxpick.cli.outputs import keep_existing, keep_inputs
    from voxpick.io.alone import alone_in
    from voxpick.io.structures import write_arrays
    from voxpick.simulate.bank import load_bank, pack_bank, unpack_bank

    way_out = "add to it by --append, or replace it by --overwrite"
    keep_inputs([target], [source])
    if not append:
        keep_existing([target], overwrite=overwrite, way_out=way_out)
    if recipe is not None:
        models = _from_recipe(recipe, source)
    else:
        chain_choice = "" if all_chains else assembly
        models = [
            _from_file(source, name, chain_choice, mass_kda, voxel_size, threshold=threshold, cell_size=cell_size)
        ]
    table = _table(unpack_bank(pack_bank(models)).values())
    with alone_in(target.resolve().parent, use="writes", patience=PATIENCE_SECONDS):
        if not append:  # another process may have written it meanwhile
            keep_existing([target], overwrite=overwrite, way_out=way_out)
        kept: dict[str, BeadModel] = load_bank() if builtin else {}
        if append and target.exists():
            kept |= read_bank(target)
        twice = [model.name for model in models if model.name in kept]
        if twice:
            raise VoxpickError(f"{target}: a structure named {twice[0]!r} is there already; choose another --name")
        write_arrays(target, pack_bank([*kept.values(), *models]))
    typer.echo(table)
    typer.echo(f"{target}: {len(kept) + len(models)} structures, {target.stat().st_size / 1024:.0f} kB")


def list_bank(
    bank: Path | None = typer.Argument(None, help="A .npz file of `structures build`; the built-in bank if not given."),
) -> None:
    """List the structures of a bank with their weight, volume, surface and shape, beside SHREC'20's Table 1."""
    models = read_bank(bank)
    typer.echo(_table(models.values()))
    for model in models.values():
        typer.echo(f"{model.name}: {model.source}")


def read_bank(path: Path | None) -> dict[str, BeadModel]:
    """The structures of a bank file by name; none takes the built-in bank."""
    from voxpick.io.structures import read_arrays
    from voxpick.simulate.bank import load_bank, unpack_bank

    if path is None:
        return load_bank()
    try:
        return unpack_bank(read_arrays(path))
    except VoxpickError as error:
        raise VoxpickError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _refuse_unused(context: typer.Context, source: Path, recipe: str | None) -> None:
    """Raise VoxpickError for an option that was given although it has nothing to do here."""
    from voxpick.cli.given import is_given
    from voxpick.io.structures import structure_kind

    kind = "recipe" if recipe is not None else structure_kind(source)
    what = {"recipe": f"--recipe {recipe}", "atoms": f"{source}, a file of atoms", "map": f"{source}, a map"}[kind]
    for name in UNUSED[kind]:
        if is_given(context, name):
            raise VoxpickError(f"--{name.replace('_', '-')} has nothing to do with {what}; leave it out")


def _from_recipe(recipe: str, folder: Path) -> list[BeadModel]:
    from voxpick.simulate.bank import SHREC20_RECIPES

    if recipe != "shrec20":
        raise VoxpickError(f"unknown recipe {recipe!r}; there is 'shrec20'")
    if not folder.is_dir():
        raise VoxpickError(f"{folder}: no such folder; --recipe shrec20 needs the one with structures/ and maps/")
    return [
        _from_file(folder / each.file, name, each.assembly or "", each.mass_kda, None, source=each.source)
        for name, each in SHREC20_RECIPES.items()
    ]


def _from_file(
    path: Path,
    name: str | None,
    assembly: str | None,
    mass_kda: float | None,
    voxel_size: float | None,
    *,
    source: str | None = None,
    threshold: float | None = None,
    cell_size: float | None = None,
) -> BeadModel:
    """assembly: None takes the first that the file lists, '' all chains as they are."""
    from voxpick.io.structures import assemblies, read_atoms, read_map, structure_kind
    from voxpick.simulate.beads import beads_from_atoms, beads_from_map

    kind = structure_kind(path)
    label = name or path.name.split(".")[0].lower()
    if mass_kda is not None and not 0 < mass_kda < float("inf"):
        raise VoxpickError(f"--mass-kda {mass_kda}: a molecular weight is above 0 kDa")
    if kind == "atoms":
        if assembly is None:
            assembly = next(iter(assemblies(path)), "")
        positions, electrons, found_kda = read_atoms(path, assembly=assembly or None)
        return beads_from_atoms(
            label, positions, electrons,
            molecular_weight_kda=found_kda if mass_kda is None else mass_kda,
            cell_size=4.5 if cell_size is None else cell_size,
            source=source or f"{path.name}, {f'biological assembly {assembly}' if assembly else 'all chains'}",
        )  # fmt: skip
    if mass_kda is None:
        raise VoxpickError(
            f"{path}: a density map needs the molecular weight; add --mass-kda, for example --mass-kda 900"
        )
    data, size = read_map(path, voxel_size=voxel_size)
    try:
        return beads_from_map(
            label, data, size, molecular_weight_kda=mass_kda, threshold=threshold,
            cell_size=6.0 if cell_size is None else cell_size,
            source=source or f"{path.name}, {size:g} A voxels",
        )  # fmt: skip
    except VoxpickError as error:
        raise VoxpickError(f"{path}: {error}") from error


def _table(models: Iterable[BeadModel]) -> str:
    """One line a model: ours, then in brackets the figures of the SHREC'20 paper where it has the class."""
    from voxpick.shrec_classes import SHREC20_TABLE1
    from voxpick.simulate.shape import shape_of

    heads = ("weight kDa", "volume nm^3", "area nm^2", "sphericity", "eff. radius nm")
    lines, compared = ["structure   beads " + "".join(f"{head:>20}" for head in heads)], False
    for model in models:
        shape = shape_of(model)
        ours = [
            model.molecular_weight_kda,
            shape.volume_nm3,
            shape.area_nm2,
            shape.sphericity,
            shape.effective_radius_nm,
        ]
        cells = [f"{value:{form}}" for value, form in zip(ours, (".1f", ".0f", ".0f", ".3f", ".2f"), strict=True)]
        if model.name in SHREC20_TABLE1:
            compared = True
            theirs = SHREC20_TABLE1[model.name][1:]
            cells = [
                f"{cell} ({value:{form}})"
                for cell, value, form in zip(cells, theirs, (".1f", ".0f", ".0f", ".3f", ".2f"), strict=True)
            ]
        lines.append(f"{model.name:<10} {len(model.electrons):>6} " + "".join(f"{cell:>20}" for cell in cells))
    brackets = "In brackets: Table 1 of the SHREC'20 paper. " if compared else ""
    lines.append(f"{brackets}Shapes at 0.05 e/A^3 on 10 A voxels.")
    return "\n".join(lines)
