"""voxpick demo"""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Simulate a tomogram, find and name its particles, score them and write a report."""
