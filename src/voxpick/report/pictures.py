"""Grey images inside a page."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from html import escape

import numpy as np


def image(grey: np.ndarray, name: str) -> str:
    """An <img> of an image uint8 [y, x], the first row at the top, with everything inside."""
    data = base64.b64encode(png(grey)).decode("ascii")
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{data}">'


def png(grey: np.ndarray) -> bytes:
    """A PNG file of an image uint8 [y, x], the first row at the top."""
    height, width = grey.shape
    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(grey))
    chunks: Mapping[bytes, bytes] = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(lines, 9),
        b"IEND": b"",
    }
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + body
