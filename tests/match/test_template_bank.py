"""Templates rotated, filtered and normalised."""

import math

import numpy as np
import pytest
import torch

from voxpick import ctf
from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes, uniform_rotations_zyx, zxz_to_matrix_xyz
from voxpick.match.bank import Bank, Template, spherical_mask
from voxpick.match.filters import Optics, template_filter
from voxpick.match.select import ball_radius
from voxpick.simulate.bank import load_bank
from voxpick.simulate.structures import density
from voxpick.wedge import wedge_mask


def bead_template(name="1bxn", **changes):
    return Template(name, density(load_bank([name])[name]), 10.0, **changes)


def blob(offset, side=16):
    grid = np.indices((side,) * 3) - side // 2
    return np.exp(-0.5 * sum((g - o) ** 2 for g, o in zip(grid, offset, strict=True)) / 1.2**2).astype(np.float32)


@pytest.mark.parametrize(
    ("angles", "expected"),
    [((90, 0, 0), (0, 4, 0)), ((0, 90, 0), (0, 0, 4)), ((90, 90, 0), (0, 4, 0))],
)
def test_rotation_turns_the_reference_into_the_particle(angles, expected):
    """As docs/geometry.md: Rz(90) sends x to y; Rz(90) Rx(90) sends z to x and x to y."""
    matrix = swap_axes(zxz_to_matrix_xyz(np.array([angles])))
    bank = Bank(Template("blob", blob((0, 0, 4)), 10.0, radius=60), matrix, edge=0)
    found = bank.rotated(slice(None))[0].numpy()
    center = np.array(np.unravel_index(found.argmax(), found.shape)) - bank.side // 2
    assert tuple(center) == expected


def test_the_identity_gives_the_density_back():
    template = bead_template("1s3x")
    bank = Bank(template, np.eye(3)[None])
    n, m = bank.side, template.density.shape[0]
    found, shift = bank.rotated(slice(None))[0].numpy(), (bank.side - m) // 2
    inner = found[tuple(slice(max(shift, 0), n - max(shift, 0)) for _ in range(3))]
    cut = template.density[tuple(slice(max(-shift, 0), m - max(-shift, 0)) for _ in range(3))]
    assert np.allclose(inner, cut, atol=1e-5 * template.density.max())


def test_a_map_with_values_below_its_surroundings_has_no_edge():
    """Maps of experiments lie around 0: what surrounds the structure must not become the bottom of a pit."""
    template = bead_template("1s3x")
    pitted = template.density + 3.0
    pitted[1, 1, 1] -= 0.4 * template.density.max()
    matrix = uniform_rotations_zyx(3, np.random.default_rng(1))
    plain, found = (
        Bank(Template("map", density, 10.0, radius=60), matrix, optics=Optics(), tilt_range_deg=(-60, 60)).normalised(
            slice(None)
        )
        for density in (template.density, pitted)
    )
    assert [float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(plain, found, strict=True)] == pytest.approx(
        [1, 1, 1], abs=0.01
    )


@pytest.mark.parametrize("level", [-3.0, 0.4, 128.0])
def test_a_map_s_own_level_changes_neither_mask_nor_radius(level):
    """Maps of 8 bits lie about 128: the structure is what rises above the faces."""
    plain = bead_template("1bxn")
    lifted = Template("map", plain.density + level, 10.0)
    assert lifted.radius_voxels() == plain.radius_voxels() < 9
    assert ball_radius(lifted) == ball_radius(plain) == pytest.approx(62.4, abs=0.1)


def test_a_dark_map_is_refused():
    noise = np.random.default_rng(0).normal(0, 0.02, (18, 18, 18))
    with pytest.raises(VoxpickError, match=r"nothing in it is bright; it goes down to 0\.\d+ below its faces"):
        Template("dark", noise - bead_template("1bxn").density, 10.0)


def test_specks_of_noise_do_not_widen_the_mask():
    density = np.random.default_rng(0).normal(0, 0.05, (36, 36, 36)) + blob((0, 0, 0), 36)
    clean, noisy = Template("ball", blob((0, 0, 0), 36), 10.0), Template("ball", density, 10.0)
    assert noisy.radius_voxels() == pytest.approx(clean.radius_voxels(), abs=1.5)


@pytest.mark.parametrize("name", ["1bxn", "3qm1"])
def test_rotated_maps_are_like_rotated_atoms(name):
    model, rotations = load_bank([name])[name], uniform_rotations_zyx(4, np.random.default_rng(0))
    bank = Bank(bead_template(name), rotations, optics=Optics())
    plain = Bank(bead_template(name), rotations)
    for row, rotation in enumerate(rotations):
        exact = Bank(
            Template(name, density(model, rotation_zyx=rotation), 10.0, radius=bank.template.radius_voxels() * 10),
            np.eye(3)[None],
            optics=Optics(),
        )
        one, other = bank.normalised(slice(row, row + 1))[0], exact.normalised(slice(None))[0]
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
    assert (
        plain.rotated(slice(None)).sum(dim=(1, 2, 3)).std()
        < 0.02 * plain.rotated(slice(None)).sum(dim=(1, 2, 3)).mean()
    )


def test_templates_have_mean_0_and_deviation_1_under_the_mask():
    bank = Bank(
        bead_template(),
        uniform_rotations_zyx(3, np.random.default_rng(1)),
        optics=Optics(),
        tilt_range_deg=(-60, 60),
        edge=1.5,
    )
    weights = bank.mask.double() / bank.mask.double().sum()
    for rows, templates in bank.batches(2):
        inside = bank.mask > 0
        unmasked = torch.where(inside, templates.double() / bank.mask.clamp(min=1e-9), 0.0)
        assert templates.shape == (len(rows), *(bank.side,) * 3)
        assert torch.allclose((unmasked * weights).sum(dim=(1, 2, 3)), torch.zeros(1, dtype=torch.float64), atol=1e-6)
        assert torch.allclose((unmasked**2 * weights).sum(dim=(1, 2, 3)), torch.ones(1, dtype=torch.float64), atol=1e-5)
        assert (templates[:, ~inside] == 0).all()


def test_the_wedge_stays_where_it_is_when_the_template_turns():
    rotations = uniform_rotations_zyx(2, np.random.default_rng(2))
    bank = Bank(bead_template(), rotations, tilt_range_deg=(-60, 60), edge=0)
    side, free = bank.side, Bank(bead_template(), rotations, edge=0)
    wedge = wedge_mask((side,) * 3, (-60, 60))
    for row in range(2):
        raw = free.rotated(slice(row, row + 1))[0]
        filtered = torch.fft.irfftn(torch.fft.rfftn(raw) * wedge, s=raw.shape)
        inside = bank.mask > 0
        expected = (filtered[inside] - filtered[inside].mean()) / filtered[inside].std(correction=0)
        assert torch.allclose(bank.normalised(slice(row, row + 1))[0][inside], expected, atol=1e-4)


def test_the_mask_is_a_ball_with_a_soft_edge():
    mask = spherical_mask(24, 6.0, 2.0)
    line = mask[12, 12, 12:]
    assert np.allclose(line[:7], 1) and np.allclose(line[[8, 10]], [math.exp(-0.5), math.exp(-2)])
    assert line[11] == pytest.approx(math.exp(-0.5 * 2.5**2)) and (mask[0] == 0).all()
    assert np.array_equal(mask[1:], mask[1:][::-1]) and np.array_equal(mask, mask.transpose(2, 0, 1))
    assert spherical_mask(24, 6.0, 0.0).sum() == sum(
        (z * z + y * y + x * x) <= 36 for z in range(-6, 7) for y in range(-6, 7) for x in range(-6, 7)
    )


def test_the_ctf_is_cut_at_its_first_zero():
    optics = Optics()
    zero = optics.first_zero_nm()
    assert Optics(amplitude_contrast=0.0).first_zero_nm() == pytest.approx(0.411, abs=0.001)  # SHREC'20
    around = torch.tensor([zero - 1e-4, zero + 1e-4], dtype=torch.float64) ** 2
    full = Optics(cut="full").transfer(around)
    assert full[0] > 0 > full[1] and abs(full[0]) < 1e-2
    assert optics.transfer(around)[1] == 0 and optics.transfer(around)[0] == full[0]
    assert Optics(cut="full").transfer(torch.zeros(1))[0] == pytest.approx(0.08)
    chi = ctf.phase_shift(torch.tensor(0.04), defocus_um=3.0, cs_mm=2.7, voltage_kv=300.0)
    assert Optics(amplitude_contrast=0.0).transfer(torch.tensor(0.04)) == pytest.approx(-math.sin(chi))


def test_filters_multiply():
    shape = (12, 20, 28)
    both = template_filter(shape, 10.0, optics=Optics(), tilt_range_deg=(-50, 60))
    assert torch.equal(both, template_filter(shape, 10.0, optics=Optics()) * wedge_mask(shape, (-50, 60)))
    assert (template_filter(shape, 13.0) == 1).all()


def test_bad_templates_are_refused():
    for density_, match in (
        (np.zeros((8, 8, 8)), "bright"),
        (np.full((8, 8, 8), np.nan), "NaN"),
        (np.ones((8, 8)), "3 dim"),
        (np.ones((2, 8, 8)), r"shape \(2, 8, 8\); give a density of 3 dimensions with at least 3 voxels along each"),
    ):
        with pytest.raises(VoxpickError, match=match):
            Template("bad", density_, 10.0)
    with pytest.raises(VoxpickError, match="radius"):
        Template("bad", blob((0, 0, 0)), 10.0, radius=-3)
    for changes in ({"cut": "some"}, {"defocus_um": -3.0}, {"amplitude_contrast": 1.0}):
        with pytest.raises(VoxpickError):
            Optics(**changes)
    wide = Template("wide", blob((0, 0, 0)), 100.0)
    with pytest.raises(VoxpickError, match="nothing is left"):
        Bank(
            Template("w", np.indices((16,) * 3).sum(axis=0) % 2 + 0.0, 1.0, radius=6), np.eye(3)[None], optics=Optics()
        ).normalised(slice(None))
    assert (
        Bank(wide, np.eye(3)[None], optics=Optics()).side
        == Bank(Template("w", blob((0, 0, 0)), 10.0), np.eye(3)[None]).side
    )


def test_a_template_of_which_nothing_is_left_names_what_may_be_wrong():
    """It asked for the voxel size alone, though the defocus was in A, or the mask held one voxel."""
    ball = Template("ball", blob((0, 0, 0)), 10.0)
    far = Bank(ball, np.eye(3)[None], optics=Optics(defocus_um=30000, cut="first-zero", amplitude_contrast=0.0))
    with pytest.raises(VoxpickError, match=r"ball: nothing is left .*defocus of 30000 um.*the defocus, in um,"):
        far.normalised(slice(None))
    tiny = Bank(Template("ball", blob((0, 0, 0)), 10.0, radius=4), np.eye(3)[None], edge=0)
    with pytest.raises(
        VoxpickError, match=r"mask of radius 4 A \(0.4 voxels\); are the voxel size 10 A and the mask r"
    ):
        tiny.normalised(slice(None))


def test_a_bank_too_large_to_keep_gives_the_same(monkeypatch):
    rotations = uniform_rotations_zyx(5, np.random.default_rng(6))
    kept, made_anew = (Bank(bead_template("3qm1"), rotations) for _ in range(2))
    first = [(row, part.clone()) for row, part in kept.under_mask(2)]
    again = list(kept.under_mask(2))
    monkeypatch.setattr("voxpick.match.bank.KEPT_BYTES", 0)
    other = list(made_anew.under_mask(2))
    assert [row for row, _ in first] == [row for row, _ in again] == [row for row, _ in other] == [0, 2, 4]
    full = kept.normalised(slice(None))[:, kept.mask > 0]
    for parts in (first, again, other):
        assert torch.allclose(torch.cat([part for _, part in parts]), full, atol=1e-5)
