"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Tomogram = Annotated[Path, typer.Argument(help="The tomogram (MRC).")]
Picks = Annotated[Path, typer.Argument(help="Picks: .star .csv .json (A), .txt .tbl .cbox .mod .xml (voxels).")]
VoxelSize = Annotated[float | None, typer.Option(help="Voxel size in A, where the file's header is wrong.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")]
