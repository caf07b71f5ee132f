"""What settings of template matching mean."""

import numpy as np
import pytest

from voxpick.cli.assignments import read_assignments
from voxpick.errors import VoxpickError
from voxpick.match.bank import Template
from voxpick.match.settings import MatchSettings, make_match_settings

BALL = Template("ball", np.pad(np.ones((3, 3, 3)), 3), 10.0)


@pytest.mark.parametrize(("changes", "looked_at"), [({}, 2000), ({"number": 5000}, 5000), ({"number": None}, 2000)])
def test_as_many_candidates_are_looked_at_as_picks_are_wanted(changes, looked_at):
    assert make_match_settings(MatchSettings, changes).wanted(BALL, 50.0).number == looked_at


def test_no_limit_can_be_asked_for():
    """number=null was dropped, and 217 picks of each class were kept."""
    changes = read_assignments(["number=null"], example="")
    assert make_match_settings(MatchSettings, changes, number=217).number is None
    with pytest.raises(VoxpickError, match="match: candidates = None: "):
        make_match_settings(MatchSettings, {"candidates": None})


def test_off_is_off_though_yaml_reads_it_as_false():
    changes = read_assignments(["ctf=off", "tilt_range=off", "background=off"], example="")
    settings = make_match_settings(MatchSettings, changes)
    assert settings.optics() is None and settings.wedge() is None and settings.background == "off"
