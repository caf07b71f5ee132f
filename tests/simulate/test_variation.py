import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from voxpick.api import simulate
from voxpick.cli import build_app
from voxpick.errors import VoxpickError
from voxpick.simulate.bank import load_bank
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20
from voxpick.simulate.variation import Variation, draw_recipe, varying

NAMES = ["3cf3", "1bxn"]
BANK = load_bank(NAMES)
SMALL = Recipe(size_zyx=(60, 40, 48), particles=4, thickness=64, tilt_step_deg=20.0)


def test_same_seed_same_recipe_another_seed_another():
    first, again, other = (draw_recipe(Recipe(), BANK, Variation(), varying(s)) for s in (4, 4, 5))
    assert first == again
    assert first.snr != other.snr


def test_all_ranges_are_respected_and_filled():
    rng, variation = np.random.default_rng(1), Variation()
    given = Recipe(size_zyx=(200, 128, 256), voxel_size=8.0)
    drawn = [draw_recipe(given, BANK, variation, rng) for _ in range(300)]
    particles = [2400 * 0.4 * 128 * 256 / 512**2, 2800 * 1.1 * 128 * 256 / 512**2]
    ranges = {name: getattr(variation, name) for name in ("snr", "defocus_um", "tilt_limit_deg", "tilt_step_deg")}
    ranges |= {"envelope_decay": (0.25, 0.55), "ice_mean": (0.12, 0.18), "ice_deviation": (0.005, 0.015)}
    ranges |= {"structural_noise": (0.02, 0.06), "particles": tuple(particles)}
    for name, (low, high) in ranges.items():
        values = np.array([getattr(recipe, name) for recipe in drawn])
        assert low - 0.5 * (name == "particles") <= values.min() < low + 0.1 * (high - low), name
        assert high - 0.1 * (high - low) < values.max() <= high + 0.5 * (name == "particles"), name
    factors = np.array([list(recipe.contrast.values()) for recipe in drawn])
    assert 0.85 <= factors.min() < 0.86 < 1.14 < factors.max() <= 1.15
    assert np.median([recipe.snr for recipe in drawn]) == pytest.approx((0.0025 * 0.016) ** 0.5, rel=0.1)
    assert {(recipe.size_zyx, recipe.voxel_size, recipe.orientations) for recipe in drawn} == {
        ((200, 128, 256), 8.0, "uniform")
    }


def test_crowding_asks_for_no_more_particles_than_the_masks_can_number():
    drawn = [draw_recipe(Recipe(particles=65000), BANK, Variation(), varying(seed)) for seed in range(20)]
    assert max(recipe.particles for recipe in drawn) == 65535


@pytest.mark.parametrize("wrong", [{"amplitude_contrast": 0}, {"contrast": {"1bxn": -1}}, {"contrast": {"1bxn": 0}}])
def test_recipes_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Recipe(**wrong)


def test_contrast_of_a_structure_that_is_not_there_is_refused():
    with pytest.raises(VoxpickError, match="contrast names '1xbn'; the structures here are 3cf3, 1bxn"):
        simulate_shrec20(load_bank(NAMES), SMALL.model_copy(update={"contrast": {"1xbn": 1.1}}), seed=0)


def test_tilts_are_symmetric():
    rng = np.random.default_rng(2)
    for _ in range(50):
        angles = draw_recipe(Recipe(), BANK, Variation(), rng).tilt_angles()
        assert angles[-1] == pytest.approx(-angles[0])


def test_a_range_without_room_keeps_its_step():
    variation = Variation(tilt_limit_deg=(50.0, 50.0), tilt_step_deg=(3.0, 3.0))
    assert draw_recipe(Recipe(), BANK, variation, np.random.default_rng(0)).tilt_step_deg == 3.0


@pytest.mark.parametrize("wrong", [{"snr": (0.01, 0.002)}, {"crowding": (0.0, 1.0)}, {"ice": (1.0, 2.0)}])
def test_ranges_that_are_none(wrong):
    with pytest.raises(ValidationError):
        Variation(**wrong)


def test_settings_named_at_their_defaults_change_nothing():
    bank = load_bank(NAMES)
    named = Recipe(**SMALL.model_dump() | {"ice_mean": 0.15, "ice_deviation": 0.01, "envelope_decay": 0.4,
                                           "contrast": {"3cf3": 1.0, "1bxn": 1.0}})  # fmt: skip
    plain, same = (simulate_shrec20(bank, recipe, seed=3) for recipe in (SMALL, named))
    assert np.array_equal(plain.reconstruction, same.reconstruction)
    assert np.array_equal(plain.grandmodel, same.grandmodel)


def test_contrast_and_ice_change_the_specimen_but_not_the_truth():
    bank = load_bank(NAMES)
    plain = simulate_shrec20(bank, SMALL, seed=3)
    changed = simulate_shrec20(
        bank, SMALL.model_copy(update={"contrast": {"3cf3": 1.1, "1bxn": 0.9}, "ice_mean": 0.12}), seed=3
    )
    assert np.array_equal(plain.packing.occupancy, changed.packing.occupancy)
    assert changed.grandmodel[plain.packing.density == 0].mean() == pytest.approx(0.12, abs=1e-3)
    for name, factor in (("3cf3", 1.1), ("1bxn", 0.9)):
        number = plain.packing.names.index(name) + 1
        inside = plain.packing.class_of(plain.packing.occupancy, np.array([1, 2])) == number
        ratio = changed.packing.density[inside].sum() / plain.packing.density[inside].sum()
        assert ratio == pytest.approx(factor, abs=0.01)


COMMAND = ["--size", "60,40,48", "--thickness", "64", "--classes", "3cf3,1bxn", "--particles", "4", "--seed", "7"]


def test_varied_command_records_the_recipe_of_each_model(tmp_path):
    line = ["simulate", "shrec20", str(tmp_path), "--models", "2", "--vary", *COMMAND]
    run = CliRunner().invoke(build_app(), line, standalone_mode=False)
    assert run.exception is None, run.output
    records = [yaml.safe_load((tmp_path / f"model_{k}" / "simulation.yaml").read_text()) for k in (0, 1)]
    recipes = [Recipe(**record["recipe"]) for record in records]
    seeds = [int(np.random.SeedSequence([7, k]).generate_state(1)[0]) for k in (0, 1)]
    given = Recipe(size_zyx=(60, 40, 48), thickness=64, particles=4)
    assert recipes == [draw_recipe(given, BANK, Variation(), varying(s)) for s in seeds]
    assert recipes[0].snr != recipes[1].snr
    assert Variation(**records[0]["variation"]) == Variation()


def test_a_varied_world_is_drawn_from_its_seed():
    world = simulate(seed=3, structures=load_bank(NAMES), vary=True, size_zyx=(40, 30, 36), particles=2, thickness=40)
    given = Recipe(size_zyx=(40, 30, 36), particles=2, thickness=40)
    assert world.simulation.recipe == draw_recipe(given, BANK, Variation(), varying(3))


def test_vary_refuses_what_it_would_draw_over(tmp_path):
    line = ["simulate", "shrec20", str(tmp_path), "--vary", "--snr", "0.02", *COMMAND]
    run = CliRunner().invoke(build_app(), line, standalone_mode=False)
    assert isinstance(run.exception, VoxpickError)
    assert str(run.exception).startswith("--snr 0.02: --vary draws it anew")
