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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angular_step": 1}, r"match: an angular step of 1 degrees makes 14851067 rotations"),
        ({"angular_step": 2.2, "volumes": 1900}, r"1900 coefficients each.*fits is 4.8 degrees, and a finer one with"),
        ({"angular_step": 1.5, "path": "exact"}, r"the smallest step that fits is 1.6 degrees"),
        ({"tilt_range": [60, -60]}, r"match: tilt_range = \[60, -60\]: tilt range 60 to -60 degrees; give two limits"),
        ({"tilt_range": [-100, 60]}, r"within -90 and 90"),
        ({"defocus": 30000}, r"defocus = 30000: more than 100 um; give the defocus in um"),
    ],
)
def test_what_would_fail_late_is_refused_at_once(changes, message):
    with pytest.raises(VoxpickError, match=message):
        make_match_settings(MatchSettings, changes)


def test_errors_call_settings_as_the_person_did():
    with pytest.raises(VoxpickError, match=r"^--step 0\.1: Input should be greater"):
        make_match_settings(MatchSettings, {"angular_step": 0.1}, options={"angular_step": "--step"})
    with pytest.raises(VoxpickError, match=r"^match: tile = 3: Input should be greater"):
        make_match_settings(MatchSettings, {"tile": 3}, options={"angular_step": "--step"})
