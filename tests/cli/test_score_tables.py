"""The tables of scores in the terminal."""

import numpy as np
import pytest

from voxpick.cli.score_tables import print_shrec
from voxpick.evaluate.shrec import score_shrec
from voxpick.particles import Particles


@pytest.mark.parametrize(("name", "shown"), [("4d8q", True), ("mine", False)])
def test_sizes_are_told_of_classes_that_have_one(name, shown, capsys):
    """Of classes of one's own a table of dashes was printed."""
    occupancy = np.zeros((4, 8, 8), dtype=np.int16)
    occupancy[2, 2, 2] = 1
    truth = Particles(np.array([[20.0, 20.0, 20.0]]), [name])
    print_shrec(score_shrec(truth, truth, occupancy, voxel_size=10.0, z_offset=0))
    assert ("by size" in capsys.readouterr().out) == shown
