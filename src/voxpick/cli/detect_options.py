"""The options of `voxpick detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxpick.cli import options
from voxpick.errors import VoxpickError

LEAST_MEMORY = 2**20
"""Bytes: less is a size without its unit."""
Tomograms = Annotated[list[Path], typer.Argument(help="Tomograms as MRC files, of any size and voxel size.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder that receives the picks.")]
ModelName = Annotated[
    str, typer.Option(help="A model that ships with voxpick, by name, or a model file made by 'voxpick train'.")
]
Classifier = Annotated[
    str | None,
    typer.Option(
        help="Name the picks by the 'classifier' of this model (file, or name of a shipped one), of any method.",
        show_default="the model's own",
    ),
]
Formats = Annotated[
    str,
    typer.Option(
        help="Files to write, comma-separated: star (RELION 5), csv (A), shrec (text, voxels), dynamo, cbox, imod, "
        "deepfinder, copick (docs/formats.md)."
    ),
]
VoxelSize = Annotated[float | None, typer.Option(help="Voxel size in A, where the file's header is wrong or silent.")]
Invert = Annotated[
    bool, typer.Option("--invert", help="Protein is bright in these tomograms; voxpick expects it dark.")
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Lowest probability of a voxel, or height of a peak, that counts, 0 to 1.", show_default="the model's"
    ),
]
MinimumScore = Annotated[
    float | None,
    typer.Option(help="Leave out picks with a confidence below this, 0 to 1.", show_default="keep all"),
]
NoClasses = Annotated[bool, typer.Option("--no-classes", help="Only find particles; do not name them (faster).")]
Segmentation = Annotated[
    bool, typer.Option("--segmentation", help="Also write NAME_segmentation.mrc: the class number of every voxel.")
]
Paper = Annotated[
    bool,
    typer.Option(
        "--paper", help="From voxels to picks exactly as the method's paper; for VP-Detector mean-shift, majority vote."
    ),
]
Device = options.Device
Threads = options.Threads
MaxMemory = Annotated[
    str | None, typer.Option(help="Main memory that may be taken, such as 4G or 800M.", show_default="6G")
]
Slab = Annotated[
    str | None,
    typer.Option(
        help="Sections (z) to search: auto finds the ice and skips the vacuum above and below, off searches all, "
        "156:356 searches those, the last excluded.",
        show_default="auto",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace picks of another tomogram, or of another origin, of the same name.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other setting, as key=value; for instance --set minimum_distance=100."),
]


def check_threshold(threshold: float | None) -> None:
    """Raise VoxpickError for a --threshold that is no probability, by the option's name."""
    if threshold is not None and not 0 < threshold < 1:
        raise VoxpickError(f"--threshold {threshold:g}: is that of a probability; give one between 0 and 1")


def check_given(min_score: float | None, max_memory: str | None, threshold: float | None = None) -> None:
    """Raise VoxpickError for --min-score, --max-memory and --threshold out of range, by the names of the options."""
    from voxpick.detect.memory import parse_memory

    check_threshold(threshold)
    if min_score is not None and not 0 <= min_score <= 1:
        raise VoxpickError(f"--min-score {min_score:g}: confidences lie from 0 to 1")
    if max_memory is None:
        return
    try:
        size = parse_memory(max_memory)
    except VoxpickError as error:
        raise VoxpickError(f"--max-memory {max_memory}: not a size; use something like 4G or 800M") from error
    if size < LEAST_MEMORY:
        raise VoxpickError(f"--max-memory {max_memory}: is {size} bytes; use something like 4G or 800M")
