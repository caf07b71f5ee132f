"""One volume and its MRC file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrc_files import SHAPE

from voxpick.io.mrc import write_mrc


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path, data: np.ndarray) -> Path:
    write_mrc(tmp_path / "tomo.mrc", data, voxel_size=13.48)
    return tmp_path / "tomo.mrc"
