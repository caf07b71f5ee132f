"""The exact search against pytme 0.3.6, where that is installed; a test tool only."""

import numpy as np
import pytest

from voxpick.match.bank import Bank
from voxpick.match.exact import match_exact
from voxpick.match.filters import Optics
from voxpick.match.rotations import super_fibonacci
from voxpick.match.tiles import TiledVolume

pytest.importorskip("tme", reason='pytme is not installed: pip install -c constraints.txt -e ".[peers]"')


def pytme_scores(data, density, mask):
    """pytme's score map of one template in its given orientation, with a mask that does not turn."""
    from tme.analyzer import MaxScoreOverRotations
    from tme.matching_data import MatchingData
    from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive

    setup, score = MATCHING_EXHAUSTIVE_REGISTER["FLCSphericalMask"]
    matching = MatchingData(
        target=data.copy(), template=density.copy(), template_mask=mask.copy(), rotations=np.eye(3)[None]
    )
    found = match_exhaustive(
        matching_data=matching, matching_setup=setup, matching_score=score, callback_class=MaxScoreOverRotations,
        callback_class_args={"score_threshold": -2.0}, interpolation_order=1,
    )  # fmt: skip
    return np.asarray(found[0])


@pytest.mark.parametrize("filters", [{}, {"optics": Optics(), "tilt_range_deg": (-60, 60)}], ids=["plain", "filtered"])
def test_the_score_map_is_that_of_pytme(bank, filters):
    """At 30000 places within reach of the mask; filtered templates are ours, as pytme has filters of its own."""
    ours_of = Bank(bank.template, super_fibonacci(3), edge=1.0, **filters)
    mask, templates = ours_of.mask.numpy(), ours_of.normalised(slice(None)).numpy()
    data = np.random.default_rng(5).normal(size=(41, 46, 50)).astype(np.float32)
    half = ours_of.side // 2
    for row, place in enumerate([(20, 20, 20), (24, 26, 33), (16, 30, 14)]):
        data[tuple(slice(p - half, p + half) for p in place)] += 1.2 * templates[row]
    plain = ours_of.rotated(slice(None)).numpy()
    filtered = np.divide(templates, mask, out=np.zeros_like(templates), where=mask > 0)
    theirs = np.max([pytme_scores(data, density, mask) for density in (filtered if filters else plain)], axis=0)
    ours = match_exact(TiledVolume(data), ours_of, tile=30).score
    inner = tuple(slice(half, n - half) for n in data.shape)
    assert ours[inner].size > 30000 and ours[inner].max() > 0.6
    assert np.abs(ours[inner] - theirs[inner]).max() < 1e-5
