"""voxpick simulate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.cli.simulation_folders import MOST_SEED
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.simulate.shrec20 import Recipe
    from voxpick.simulate.structures import BeadModel
    from voxpick.simulate.variation import Variation

OPTIONS = {
    "size_zyx": "--size", "voxel_size": "--voxel-size", "tilt_limit_deg": "--tilt-limit",
    "tilt_step_deg": "--tilt-step", "defocus_um": "--defocus",
}  # fmt: skip
"""What the settings of the recipe are called here, where that differs."""

FINEST_VOXEL_A = 5.0

app = typer.Typer(no_args_is_help=True, help="Make tomograms with known truth.")


def register(parent: typer.Typer) -> None:
    """Add this command group."""
    parent.add_typer(app, name="simulate")


@app.callback()
def _group() -> None:
    """Make tomograms with known truth."""


@app.command(short_help="Tomograms by the recipe of the SHREC'20 benchmark.")
def shrec20(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Folder that receives model_0, model_1, ...")],
    models: Annotated[int, typer.Option(min=1, help="How many tomograms.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Random seed; another seed gives other tomograms.")
    ] = 0,
    size: Annotated[str, typer.Option(help="Voxels of the specimen, z,y,x.")] = "200,512,512",
    thickness: Annotated[
        int | None, typer.Option(help="Voxels of the tomogram along z.", show_default="as many as x")
    ] = None,
    particles: Annotated[
        int | None,
        typer.Option(
            help="Particles per tomogram.", show_default="2400 to 2799 on 512 x 512 voxels, fewer of large structures"
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Structures to place, by name, comma-separated.", show_default="all")
    ] = None,
    structures: Annotated[
        Path | None,
        typer.Option(help="Your own bank, made by 'voxpick structures build'.", show_default="the built-in one"),
    ] = None,
    snr: Annotated[float, typer.Option(help="SHREC's SNR setting: 0.004 (2020) or 0.02 (2019).")] = 0.004,
    tilt_limit: Annotated[float, typer.Option(help="Largest tilt in degrees.")] = 60.0,
    tilt_step: Annotated[float, typer.Option(help="Degrees between tilts.")] = 3.0,
    defocus: Annotated[float, typer.Option(help="Defocus in micrometres, underfocus positive.")] = 3.0,
    voxel_size: Annotated[
        float, typer.Option(help="Voxel size in A. Noise and envelope go by the voxel, as of another microscope.")
    ] = 10.0,
    orientations: Annotated[
        str, typer.Option(help="'uniform' over all orientations, or 'shrec20' for the published set's uneven ones.")
    ] = "uniform",
    vary: Annotated[
        bool,
        typer.Option("--vary", help="Draw SNR, tilts, defocus, ice, crowding and contrast anew for each tomogram."),
    ] = False,
    device: option.Device = "auto",
    threads: option.Threads = None,
    overwrite: Annotated[bool, typer.Option(help="Replace model folders that exist.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep model folders that an equal call has made, and make the rest.")
    ] = False,
) -> None:
    """Simulate tomograms by the recipe of the SHREC'20 benchmark, and write its model_N folders."""
    from voxpick.cli.simulation_folders import Series, make_folder
    from voxpick.cli.threads import set_threads
    from voxpick.io.atomic import require_writable
    from voxpick.precision import choose_device

    set_threads(threads)
    where = choose_device(device)
    recipe = _recipe(
        size_zyx=three_sides(size),
        voxel_size=voxel_size,
        particles=particles,
        thickness=thickness,
        snr=snr,
        tilt_limit_deg=tilt_limit,
        tilt_step_deg=tilt_step,
        defocus_um=defocus,
        orientations=orientations,
    )
    variation = _variation(context) if vary else None
    if voxel_size < FINEST_VOXEL_A:
        typer.echo(
            f"voxpick: warning: --voxel-size {voxel_size:g}: structures are beads about 4.5 A apart, true to some 8 A; "
            f"below {FINEST_VOXEL_A:g} A particles are grainy",
            err=True,
        )
    bank, ids = _structures(structures, classes)
    folders = [out / f"model_{k}" for k in range(models)]
    _keep_folders(folders, overwrite=overwrite, resume=resume)
    _require_room(bank, recipe)
    require_writable(out)
    series = Series(recipe, variation, bank, ids, seed)
    for k, folder in enumerate(folders):
        make_folder(folder, series, k, device=where, overwrite=overwrite, resume=resume)


def _keep_folders(folders: list[Path], *, overwrite: bool, resume: bool) -> None:
    """Raise VoxpickError for a folder that exists already, unless it is to be replaced or kept."""
    if overwrite and resume:
        raise VoxpickError("--resume keeps model folders and --overwrite replaces them; give one of the two")
    from voxpick.io.abandoned import restore_folder

    for folder in folders:
        restore_folder(folder)
        if folder.exists() and not (overwrite or resume):
            raise VoxpickError(
                f"{folder}: exists already; choose another folder, or add --overwrite, or --resume to keep it"
            )


def _require_room(bank: dict[str, BeadModel], recipe: Recipe) -> None:
    """Raise VoxpickError for a structure that may not fit into the slab; else some tomogram would end in that."""
    from voxpick.simulate.packing import largest_extent

    for name, model in bank.items():
        extent = largest_extent(model, recipe.voxel_size)
        if extent > recipe.size_zyx[0]:
            raise VoxpickError(
                f"--size {','.join(map(str, recipe.size_zyx))}: the slab is {recipe.size_zyx[0]} voxels thick, but "
                f"{name} may take {extent}; make it thicker, or leave the structure out of --classes"
            )


def _recipe(**settings: Any) -> Recipe:
    """The recipe of these settings. Raises VoxpickError that names the option of the first wrong one."""
    from pydantic import ValidationError

    from voxpick.simulate.shrec20 import Recipe

    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "thickness"
        given = settings["thickness"] if name == "thickness" else first["input"]
        given = ",".join(map(str, given)) if isinstance(given, tuple) else given
        reason = first["msg"].removeprefix("Value error, ")
        raise VoxpickError(f"{OPTIONS.get(name, f'--{name}')} {given}: {reason}") from error


def _variation(context: typer.Context) -> Variation:
    """What --vary draws. Raises VoxpickError where an option was given that it would draw over."""
    from voxpick.cli.given import is_given
    from voxpick.simulate.variation import REPLACED, Variation

    for drawn in (OPTIONS.get(name, f"--{name}") for name in REPLACED):
        name = drawn.removeprefix("--").replace("-", "_")
        if name in context.params and is_given(context, name):
            raise VoxpickError(
                f"{drawn} {context.params[name]:g}: --vary draws it anew for each tomogram; leave out one of the two"
            )
    return Variation()


def _structures(path: Path | None, classes: str | None) -> tuple[dict[str, BeadModel], dict[str, int]]:
    """The chosen structures, and the class id of every structure of the bank (its place in it, from 1)."""
    from voxpick.cli.structures import read_bank
    from voxpick.simulate.bank import select

    bank = read_bank(path)
    ids = {name: k for k, name in enumerate(bank, start=1)}
    chosen = bank if classes is None else select(bank, [name.strip() for name in classes.split(",") if name.strip()])
    if not chosen:
        raise VoxpickError(f"--classes {classes!r}: names no structure; the bank holds {', '.join(bank)}")
    return chosen, {name: ids[name] for name in chosen}


def three_sides(text: str) -> tuple[int, ...]:
    """Voxels z, y, x of the option --size. Raises VoxpickError for other than three whole numbers."""
    try:
        values = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise VoxpickError(f"--size {text}: give three whole numbers, such as 200,512,512") from error
    if len(values) != 3 or min(values) < 1:
        raise VoxpickError(f"--size {text}: give three whole numbers of at least 1, such as 200,512,512")
    return values
