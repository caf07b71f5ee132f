"""voxpick cam"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxpick.cli import options as option
from voxpick.cli.detect_options import Invert
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.networks.model import Model
    from voxpick.particles import Particles
    from voxpick.volume import Volume


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cam", short_help="Show which parts of a particle a classifier goes by.")(cam_command)


def cam_command(
    volume: option.Tomogram,
    picks: option.Picks,
    model: Annotated[
        list[str],
        typer.Option(
            help="A trained densenet or dilated-densenet, by file or name; give the option again to compare networks."
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(help="A SHREC model folder: shows the particles' density without noise, too."),
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Particles of each class, the most confident first.")] = 2,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("cam.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is no page of voxpick's.")] = False,
    voxel_size: option.VoxelSize = None,
    invert: Invert = False,
    device: option.Device = "auto",
) -> None:
    """Show which parts of a particle a classifier goes by: class activation maps, in one HTML file.

    Each row is a pick: its central slice, the truth where it is known, and each network's map of the class it names.
    """
    from voxpick.cli.detect_models import read_classifier
    from voxpick.cli.outputs import files_of, keep_inputs, keep_other_pages
    from voxpick.cli.pick_files import outside, read_picks, warn_of_strays
    from voxpick.cli.tomograms import read_tomogram, warnings_on_one_line
    from voxpick.detect.activation import activations
    from voxpick.detect.prepare import check_contrast, in_spectrum, slab_of
    from voxpick.detect.rescale import rescaled, same_voxel_size
    from voxpick.io.atomic import require_file_place, write_text
    from voxpick.io.shrec_model import open_model
    from voxpick.report.activation import Column, accuracy, build_activation_page, choose_examples
    from voxpick.volume import intensity_statistics

    keep_inputs([output], [volume, picks, *map(Path, model), *files_of(truth)])
    keep_other_pages(output, overwrite=overwrite)
    require_file_place(output)
    models = [read_classifier(name) for name in model]
    size, grid = _settings(models, model)
    if truth is not None and voxel_size is None:
        voxel_size = open_model(truth).voxel_size
    tomogram = read_tomogram(volume, voxel_size)
    particles = read_picks(
        picks, tomogram=tomogram.name, voxel_size=tomogram.voxel_size, shape=tomogram.shape, purpose="show"
    )
    strays = outside(particles, tomogram)
    if strays.all():
        raise VoxpickError(f"{picks}: all {len(particles)} picks lie outside {volume}; check their unit and frame")
    warn_of_strays(picks, particles, tomogram, volume, fate=" and are left out")
    particles = particles[~strays]
    density = None if truth is None else _density(truth, tomogram)
    rows = choose_examples(
        particles, shape=tomogram.shape, voxel_size=tomogram.voxel_size,
        size=round(size * grid / tomogram.voxel_size), per_class=examples,
    )  # fmt: skip
    chosen = particles[rows]
    if not same_voxel_size(tomogram.voxel_size, grid):
        tomogram = rescaled(tomogram, grid)
    centers = chosen.voxels(tomogram.voxel_size)
    mean, deviation = intensity_statistics(tomogram)
    columns = []
    with warnings_on_one_line():
        check_contrast(tomogram, slab_of(tomogram), inverted=invert)
        for title, found in zip(_titles(models, model), models, strict=True):
            taken, middle, spread = in_spectrum(tomogram, found.spectrum, mean=mean, deviation=deviation, device=device)
            maps = activations(
                taken.data, centers, found.network, size=size, mean=middle, deviation=-spread if invert else spread,
                device=device,
            )  # fmt: skip
            columns.append(Column(title, found.classes, maps))
    hint = "Blue: the class in the picks file; red: another."
    page = build_activation_page(
        chosen, columns, None if density is None else _truth_cubes(density, chosen, size, grid),
        title="Class activation maps", subtitle=f"{tomogram.name} · {len(chosen)} picks of {picks.name}", hint=hint,
    )  # fmt: skip
    write_text(output, page)
    shares = ", ".join(f"{column.title} {accuracy(column, list(chosen.classes)):.0%}" for column in columns)
    typer.echo(f"{output}: {len(chosen)} picks, named as in {picks.name}: {shares}; open it in a browser")


def _titles(models: list[Model], names: list[str]) -> list[str]:
    """The method of each model, and its file where one method comes twice."""
    methods = [str(found.provenance.get("method", Path(name).stem)) for name, found in zip(names, models, strict=True)]
    return [
        method if methods.count(method) == 1 else f"{method}, {Path(name).stem}"
        for name, method in zip(names, methods, strict=True)
    ]


def _settings(models: list[Model], names: list[str]) -> tuple[int, float]:
    """Side of the subtomograms in voxels and the voxel size in A that all models share."""
    found = [(int(model.detection.get("subtomogram", 32)), float(model.voxel_size)) for model in models]
    for name, one in zip(names, found, strict=True):
        if one != found[0]:
            raise VoxpickError(
                f"{name}: sees subtomograms of {one[0]} voxels of {one[1]:g} A, {names[0]} of {found[0][0]} voxels of "
                f"{found[0][1]:g} A; compare models of one size"
            )
    return found[0]


def _density(directory: Path, tomogram: Volume) -> tuple[Volume, float]:
    """The particles' density above the ice, the specimen's median, and the A from its z to the tomogram's.

    0 where occupancy_mask.mrc names no particle: a grandmodel has noise there, and what is shown (Dilated-DenseNet,
    section 3.1) is the noise-free subtomogram.
    """
    import numpy as np

    from voxpick.io.shrec_model import open_model

    files = open_model(directory, voxel_size=tomogram.voxel_size)
    if files.reconstruction.shape != tomogram.shape:
        raise VoxpickError(
            f"{tomogram.name}: has shape {tomogram.shape} (z, y, x), but the tomogram of {directory} has "
            f"{files.reconstruction.shape}; give the volume that belongs to this truth"
        )
    density = files.grandmodel
    ice = float(np.median(density.data[:: max(1, density.shape[0] // 8)]))
    alone = np.where(files.occupancy_mask > 0, density.data - np.float32(ice), np.float32(0))
    return density.with_data(alone), files.z_offset * tomogram.voxel_size


def _truth_cubes(density: tuple[Volume, float], particles: Particles, size: int, grid: float) -> np.ndarray:
    """Densities (n, z, y, x) of `_density` around the particles; 0 outside the specimen."""
    import numpy as np

    from voxpick.detect.classify import subtomogram
    from voxpick.detect.rescale import rescaled, same_voxel_size

    volume, shift = density
    if not same_voxel_size(volume.voxel_size, grid):
        volume = rescaled(volume, grid)
    centers = (particles.centers_zyx - [shift, 0, 0]) / volume.voxel_size
    return np.stack([subtomogram(volume.data, center, size=size) for center in centers])
