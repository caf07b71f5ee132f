"""What a search over all rotations and shifts makes the process hold."""

import subprocess
import sys

import pytest

SEARCH = """
import sys
import numpy as np
import torch
from voxpick.average import align, alignment, pose_search
from voxpick.average.subtomograms import Subtomograms
from voxpick.detect.memory import peak_bytes, settled_bytes
from voxpick.particles import Particles

torch.set_num_threads(1)
what, number, reach = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
boxes = np.random.default_rng(0).normal(size=(2, 24, 24, 24)).astype(np.float32)
cut = Subtomograms(boxes, Particles(np.zeros((2, 3))), 10.0, np.zeros((2, 3)))
how = alignment.Alignment(radius=80, low_pass=40, max_shift=reach, step_deg=60, finest_deg=60, tilt_range_deg=None)
pose_search.SCORES_AT_ONCE = 1 << 21
align.align(cut, boxes[0], how, rotations=np.eye(3)[None])
rotations = np.tile(np.eye(3), (number, 1, 1))
search = pose_search.PoseSearch(cut, boxes[0], how)
before = settled_bytes()
if what == "bank":
    bank = search.bank(rotations)
else:
    bank = search.bank(rotations[:1])
    values = search.coefficients(np.arange(2))
    search.everywhere(values, torch.zeros(2, 3), bank, search.tensor(rotations[:1]))
print(peak_bytes() - before, 8 * len(rotations) * len(search.weights))
"""


def grown(what, number, reach):
    """Bytes that the process grew by, and those of the bank."""
    words = [sys.executable, "-c", SEARCH, what, str(number), str(reach)]
    return map(int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is getrusage alone")
def test_a_bank_is_in_memory_once():
    """Its parts were in memory beside it, and the room for it was half of what it took."""
    peak, bank = grown("bank", 40000, 0)
    assert bank > 1.5e8 and peak < 1.3 * bank


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is getrusage alone")
def test_far_shifts_take_no_more_memory_than_near_ones():
    """One subtomogram at all shifts was one block, which grew with the sixth power of the box."""
    peak, _ = grown("shifts", 1, 120)
    assert peak < 1.2e8
