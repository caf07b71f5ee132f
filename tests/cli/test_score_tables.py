"""The tables of scores in the terminal."""

from pathlib import Path

import numpy as np
import pytest

from voxpick.cli.detect_output import print_summary
from voxpick.cli.score_tables import print_pairing, print_shrec
from voxpick.evaluate.pairing import score_pairing
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


def test_particles_without_names_have_no_table_of_classes(capsys):
    """A heading was printed letter under letter over an empty confusion matrix."""
    occupancy = np.zeros((4, 8, 8), dtype=np.int16)
    occupancy[2, 2, 2] = 1
    truth = Particles(np.array([[20.0, 20.0, 20.0]]))
    print_shrec(score_shrec(truth, truth, occupancy, voxel_size=10.0, z_offset=0))
    shown = capsys.readouterr().out
    assert "localisation of 1 particles" in shown and "classes" not in shown and "confusio" not in shown


def test_picks_without_any_pair_have_no_distance(capsys):
    """It read 'nan A'."""
    near, far = (Particles(np.full((1, 3), at), ["4d8q"]) for at in (20.0, 900.0))
    print_pairing(score_pairing(near, far, radius=50.0))
    assert "(mean distance -)" in capsys.readouterr().out
    print_pairing(score_pairing(near, near, radius=50.0))
    assert "(mean distance 0.0 A)" in capsys.readouterr().out


def test_names_in_brackets_are_shown(capsys):
    """rich took them for markup: two classes looked alike, and '[/a]' ended the command."""
    picks = Particles(np.array([[20.0, 20.0, 20.0], [90.0, 90.0, 90.0]]), ["mem[inner]", "[/a]"])
    print_pairing(score_pairing(picks, picks, radius=50.0))
    assert "mem[inner]" in (shown := capsys.readouterr().out) and "[/a]" in shown
    print_summary({"t[a]": picks}, Path("picks[1]"))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("t[a]", "[/a]", "mem[inner]", "picks[1]"))
