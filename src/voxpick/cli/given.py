"""Which options a person gave, whatever their values."""

from __future__ import annotations

import typer


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the parameter of this name was given, if only with its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def shown(context: typer.Context, name: str) -> str:
    """An option as a person writes it: --low-pass 30, --tilts -60 60, --bright."""
    value = context.params[name]
    words = [] if value is True else [str(word) for word in (value if isinstance(value, tuple) else (value,))]
    return " ".join([f"--{name.replace('_', '-')}", *words])
