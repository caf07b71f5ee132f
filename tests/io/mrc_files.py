"""What tests of MRC files share."""

from __future__ import annotations

from pathlib import Path

import mrcfile

SHAPE = (12, 20, 28)


def set_header(path: Path, **values: object) -> None:
    with mrcfile.open(path, mode="r+", permissive=True) as file:
        for name, value in values.items():
            file.header[name] = value
