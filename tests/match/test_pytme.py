"""The exact search against pytme 0.3.6, where that is installed; a test tool only."""

import numpy as np
import pytest

from voxpick.match.bank import Bank
from voxpick.match.exact import match_exact
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


def test_the_score_map_is_that_of_pytme(bank, noisy):
    plain = Bank(bank.template, super_fibonacci(3), edge=1.0)
    densities, mask = plain.rotated(slice(None)).numpy(), plain.mask.numpy()
    data = ((noisy[0] - noisy[0].mean()) / noisy[0].std()).astype(np.float32)
    theirs = np.max([pytme_scores(data, density, mask) for density in densities], axis=0)
    ours = match_exact(TiledVolume(data), plain, tile=30).score
    inner = tuple(slice(plain.side // 2, n - plain.side // 2) for n in data.shape)
    assert min(ours[inner].shape) >= 3
    assert np.abs(ours[inner] - theirs[inner]).max() < 1e-5
