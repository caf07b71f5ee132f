"""The missing wedge in Fourier space."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.wedge import wedge_mask

SHAPE = (12, 20, 28)


def full_mask(shape, tilts):
    """The mask for every component of the full transform, by the definition, one tilt pair of limits at a time."""
    kz, _, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.degrees(np.arctan(kz / kx))
    return (kx == 0) & (kz == 0) | (slope >= tilts[0] - 1e-9) & (slope <= tilts[1] + 1e-9)


def test_it_is_the_definition_away_from_the_last_components():
    mask = wedge_mask(SHAPE, (-60, 40)).numpy()
    expected = full_mask(SHAPE, (-60, 40))[:, :, : SHAPE[2] // 2 + 1]
    inner = np.ones(SHAPE[0], bool)
    inner[SHAPE[0] // 2] = False
    assert np.array_equal(mask[inner, :, :-1] == 1, expected[inner, :, :-1])


def test_odd_sides_have_no_last_component_and_follow_the_definition_everywhere():
    shape = (13, 9, 15)
    assert np.array_equal(wedge_mask(shape, (-60, 40)).numpy(), full_mask(shape, (-60, 40))[:, :, :8])


def test_a_symmetric_range_gives_a_symmetric_mask():
    mask = wedge_mask(SHAPE, (-60, 60))
    assert torch.equal(mask[1:].flip(0), mask[1:])
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    assert set(mask.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("tilts", [(-60, 60), (-50, 30), (-90, 90)])
def test_the_share_of_a_large_sphere_is_that_of_the_angles(tilts):
    mask = wedge_mask((64, 8, 64), tilts)[:, 0]
    kz, kx = torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]
    disc = (kz**2 + kx**2 < 0.24) & (kx > 0)
    assert mask[disc].mean().item() == pytest.approx((tilts[1] - tilts[0]) / 180, abs=0.02)


@pytest.mark.parametrize("shape", [SHAPE, (13, 9, 15)])
@pytest.mark.parametrize("tilts", [(-60, 60), (-60, 40)])
def test_filtering_keeps_real_volumes_real(shape, tilts):
    """The mask completed to all components by Hermitian symmetry filters a real volume into a real one, the same."""
    volume = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    half = wedge_mask(shape, tilts).double()
    n = shape[2]
    flipped = torch.roll(half.flip(0, 1), (1, 1), (0, 1))  # the component at -kz, -ky
    full = torch.cat([half, flipped[:, :, 1 : (n + 1) // 2].flip(2)], dim=2)
    assert torch.allclose(full[:, :, 0], flipped[:, :, 0])
    filtered = torch.fft.ifftn(torch.fft.fftn(volume) * full)
    assert filtered.imag.abs().max() < 1e-12
    assert torch.allclose(filtered.real, torch.fft.irfftn(torch.fft.rfftn(volume) * half, s=shape))


def test_a_plate_across_the_beam_is_lost_and_one_along_it_stays():
    across, along = torch.zeros(32, 32, 32), torch.zeros(32, 32, 32)
    across[16], along[:, :, 16] = 1, 1
    mask = wedge_mask((32, 32, 32), (-60, 60))
    kept = [torch.fft.irfftn(torch.fft.rfftn(v - v.mean()) * mask, s=(32, 32, 32)) for v in (across, along)]
    assert kept[0].abs().max() < 1e-6
    assert torch.allclose(kept[1], along - along.mean(), atol=1e-6)


def test_one_sided_limits_keep_their_own_side():
    mask = wedge_mask((16, 4, 16), (0, 60))
    assert mask[3, 0, 3] == 1 and mask[-3, 0, 3] == 0  # kz = kx is the image at 45 degrees


def test_the_last_component_stands_for_both_signs():
    """kz = -1/2 and kx = 3/8 lie at -53 degrees; the same component is kz = 1/2 as well, at 53."""
    mask = wedge_mask((16, 4, 16), (0, 60))
    assert mask[8, 0, 6] == 0.5
    assert mask[3, 0, 8] == mask[-3, 0, 8] == 0.5  # kx = -1/2 and 1/2, at 21 degrees and -21


def test_lines_through_the_origin_are_measured_whichever_way_they_point():
    for tilts in ((-90, 60), (-60, 90)):
        mask = wedge_mask((16, 4, 16), tilts)[:, 0]
        assert mask[:, 0].tolist() == [1] * 16
        assert sorted(mask[[4, -4], 1].tolist()) == [0, 1]  # at 76 degrees, to both sides
    one_side = wedge_mask((16, 4, 16), (10, 60))
    assert one_side[0, :, 0].tolist() == [1] * 4 and one_side[1:8, 0, 0].sum() == 0


@pytest.mark.parametrize("tilts", [(60, -60), (-100, 60), (10, 10)])
def test_limits_out_of_order_are_refused(tilts):
    with pytest.raises(VoxpickError, match="tilt range"):
        wedge_mask(SHAPE, tilts)
