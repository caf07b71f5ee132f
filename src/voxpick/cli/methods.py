"""voxpick methods: what can be trained and detected with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from voxpick.methods.catalogue import Method


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("methods", short_help="List the methods, or show what one of them is made of.")(methods_command)


def methods_command(
    name: Annotated[
        str | None, typer.Argument(help="Show this method's stages, networks and settings.", show_default="list all")
    ] = None,
) -> None:
    """List the published methods, or show what one of them is made of."""
    from voxpick.methods.catalogue import METHODS, find_method

    if name is None:
        _print(_listed(METHODS))
        typer.echo("Train one with 'voxpick train --method NAME'; 'voxpick methods NAME' shows its settings.")
    else:
        _describe(name, find_method(name))


def _listed(methods: dict[str, Method]) -> Table:
    """Name, stages, what it is and where it was published, of every method."""
    from rich.table import Table

    table = Table(title="Methods")
    for column in ("name", "stages", "what", "paper"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for name, method in methods.items():
        table.add_row(name, ", ".join(method.STAGES) or "-", method.TITLE, method.PAPER)
    return table


def _describe(name: str, method: Method) -> None:
    """All stages of a method, with the networks that twelve classes of particles ask for."""
    typer.echo(f"{name}: {method.TITLE}\n{method.PAPER}")
    for stage in method.STAGES:
        presets = {preset: method.training_settings(stage, preset).model_dump() for preset in method.PRESETS}
        _print(_settings_table(f"{name}, {stage}", _parameters(method, stage), presets))
    typer.echo("A setting that is not shown has the default of all methods, or none. Change one with --set key=value.")
    for label, attribute in (("Detection", "DETECTION"), ("Detection with --paper", "PAPER_DETECTION")):
        if settings := getattr(method, attribute, None):
            typer.echo(f"{label}: {', '.join(f'{key}={value}' for key, value in settings.items())}")


def _parameters(method: Method, stage: str) -> dict[str, str]:
    """By preset, the number of weights that a stage learns for the classes of SHREC'20."""
    from voxpick.shrec_classes import SHREC20_CLASSES

    counts = {}
    for preset in method.PRESETS:
        settings = method.training_settings(stage, preset)
        network = method.create_model(settings, list(SHREC20_CLASSES), voxel_size=10.0).network
        counts[preset] = f"{sum(weights.numel() for weights in network.parameters()):,}"
    return counts


def _settings_table(title: str, parameters: dict[str, str], presets: dict[str, dict[str, Any]]) -> Table:
    """Settings by preset that are not the same as in all methods."""
    from rich.table import Table

    from voxpick.train.settings import TrainSettings

    table = Table(title=title)
    table.add_column("setting", no_wrap=True)
    for preset in presets:
        table.add_column(f"preset {preset}", overflow="fold")
    table.add_column("meaning", overflow="fold")
    table.add_row("parameters", *parameters.values(), "trained weights, for the twelve classes of SHREC'20")
    always = ("network", "network_settings", "patch", "batch", "learning_rate", "loss")
    for key, field in TrainSettings.model_fields.items():
        values = [settings[key] for settings in presets.values()]
        default = field.get_default(call_default_factory=True)
        if key in ("method", "stage") or (key not in always and all(value == default for value in values)):
            continue
        table.add_row(key, *("-" if value is None else str(value) for value in values), field.description or "")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
