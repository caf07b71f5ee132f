"""Model files (.pt): `networks.model` on disk."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import torch

from voxpick.errors import VoxpickError
from voxpick.io.atomic import atomic_path
from voxpick.networks.model import Model, pack, unpack

MANY_WEIGHTS = 1_000_000
VOLUMES = (".mrc", ".rec", ".map", ".st", ".gz")
"""Suffixes of volumes' files."""


def save_models(path: str | Path, models: dict[str, Model], *, dtype: torch.dtype | None = None) -> None:
    """Write models by part name to one file; dtype: as for `networks.model.pack`."""
    buffer = io.BytesIO()  # torch.save reports a full disk as a RuntimeError, a plain write as what it is
    torch.save(pack(models, dtype=dtype), buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_models(path: str | Path) -> dict[str, Model]:
    """Read models by part name. Only plain data is unpickled. Raises VoxpickError for a missing or foreign file."""
    if not Path(path).is_file():
        raise VoxpickError(f"{path}: no such model file")
    try:
        if (damaged := damaged_part(path)) is not None:
            raise VoxpickError(f"{path}: a damaged model file ({damaged} fails its checksum); copy it anew")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what no voxpick model is
            data = torch.load(path, map_location="cpu", weights_only=True)
    except VoxpickError:
        raise
    except Exception as error:
        raise VoxpickError(f"{path}: not a voxpick model file{_what_it_is(path, error)}") from error
    try:
        return unpack(data, source=str(path))
    except VoxpickError as error:
        raise VoxpickError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise VoxpickError(f"{path}: a damaged voxpick model file ({type(error).__name__}: {reason})") from error


def damaged_part(path: str | Path) -> str | None:
    """What of a file of torch.save fails its checksum, at which torch does not look; None of a whole or other file."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _what_it_is(path: str | Path, error: Exception) -> str:
    """What a file that holds no model is by its name, or else why reading it failed."""
    from voxpick.io.formats import FORMATS

    suffix = Path(path).suffix.lower()
    if suffix in VOLUMES:
        return ", but a volume by its name"
    if any(suffix in known.suffixes for known in FORMATS.values()):
        return ", but a list of particles by its name"
    return f" ({type(error).__name__})"


def compact_dtype(models: dict[str, Model]) -> torch.dtype:
    """The number format of a file to pass around: float16, or 8 bits where that would be megabytes more.

    What that costs: docs/decisions/0008.
    """
    weights = sum(parameter.numel() for model in models.values() for parameter in model.network.parameters())
    return torch.int8 if weights > MANY_WEIGHTS else torch.float16


def stored_dtype(path: str | Path) -> torch.dtype | None:
    """The number format that the weights of a voxpick model file are kept in; None where there are none."""
    parts = torch.load(path, map_location="cpu", weights_only=True)["parts"].values()
    values = [value for part in parts for value in part["state"].values()]
    if not all(isinstance(value, torch.Tensor) for value in values):
        return torch.int8
    return next((value.dtype for value in values if value.is_floating_point()), None)


def builtin_model_path(name: str) -> Path:
    """The file of a model that ships with the package. Raises VoxpickError for an unknown name."""
    known = builtin_models()
    if name not in known:
        listed = ", ".join(known) or "none"
        raise VoxpickError(f"no built-in model {name!r} (there is: {listed}); give a model file or one of these names")
    return known[name]


def builtin_models() -> dict[str, Path]:
    """The files of all models that ship with the package, by name."""
    folder = Path(__file__).parent.parent / "data" / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.pt"))}
