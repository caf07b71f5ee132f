"""A written model folder against itself: beads turned by hand with the angles of the text file give the grandmodel."""

import math

import mrcfile
import numpy as np
import pytest

from voxpick.cli.simulation_folders import write_simulation
from voxpick.shrec_classes import CLASS_IDS
from voxpick.simulate.bank import load_bank
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20

NAMES = ["1s3x", "3cf3", "1u6g"]
RECIPE = Recipe(size_zyx=(60, 48, 56), thickness=72, particles=12, tilt_step_deg=20.0, voxel_size=10.0)
ICE, PROTEIN = 0.15, 0.242


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("angles") / "model_0"
    simulation = simulate_shrec20(load_bank(NAMES), RECIPE, seed=6)
    ids = {name: CLASS_IDS[name] for name in NAMES}
    write_simulation(path, simulation, ids, provenance={}, overwrite=False)
    return path


def lines(folder):
    """(name, (x, y, z), (c1, c2, c3) in radians) of every line."""
    for line in (folder / "particle_locations.txt").read_text().splitlines():
        name, *numbers = line.split()
        yield name, [int(n) for n in numbers[:3]], [math.radians(float(n)) for n in numbers[3:]]


def about_z(angle):
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def about_x(angle):
    return np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])


def spread(beads, matrix_xyz, center_xyz, shape):
    """e/A^3 [z, y, x]: beads turned about the centre, each shared by the eight voxels around it."""
    density = np.zeros(shape)
    places = beads.positions_zyx[:, ::-1].astype(float) @ matrix_xyz.T / 10 + center_xyz
    low = np.floor(places).astype(int)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, places - low, 1 - (places - low)).prod(axis=1)
        voxels = (low + corner)[:, ::-1]
        inside = ((voxels >= 0) & (voxels < shape)).all(axis=1)
        np.add.at(density, tuple(voxels[inside].T), (beads.electrons * share / 1000)[inside])
    return density


def agreement(folder, rotation):
    """Per line, the correlation of the grandmodel and of beads turned by rotation(c1, c2, c3), at the own voxels."""
    grandmodel = mrcfile.read(folder / "grandmodel.mrc")
    occupancy = mrcfile.read(folder / "occupancy_mask.mrc")
    bank, found = load_bank(NAMES), []
    for number, (name, center, angles) in enumerate(lines(folder), start=1):
        density = spread(bank[name], rotation(*angles), np.array(center), grandmodel.shape)
        iced = density + (1 - np.minimum(density, PROTEIN) / PROTEIN) * ICE
        own = occupancy == number
        found.append(np.corrcoef(iced[own], grandmodel[own])[0, 1])
    return np.array(found)


def test_the_angles_are_zxz_and_turn_the_reference_into_the_particle(folder):
    right = agreement(folder, lambda c1, c2, c3: about_z(c1) @ about_x(c2) @ about_z(c3))
    assert right.min() > 0.98
    back = agreement(folder, lambda c1, c2, c3: (about_z(c1) @ about_x(c2) @ about_z(c3)).T)
    order = agreement(folder, lambda c1, c2, c3: about_z(c3) @ about_x(c2) @ about_z(c1))
    assert back.mean() < 0.9 and order.mean() < 0.9


def test_line_i_is_particle_i_in_every_mask(folder):
    occupancy, classes = (mrcfile.read(folder / f"{name}_mask.mrc") for name in ("occupancy", "class"))
    boxes, class_boxes = (mrcfile.read(folder / f"{name}_bbox.mrc") for name in ("occupancy", "class"))
    for number, (name, (x, y, z), _) in enumerate(lines(folder), start=1):
        assert occupancy[z, y, x] == number
        assert (classes[occupancy == number] == CLASS_IDS[name]).all()
        assert (class_boxes[boxes == number] == CLASS_IDS[name]).all()
    assert occupancy.max() == 12
    assert np.array_equal(classes > 0, occupancy > 0) and np.array_equal(class_boxes > 0, boxes > 0)


def test_the_specimen_lies_in_the_middle_of_the_tomogram(folder):
    tomogram, grandmodel = (mrcfile.read(folder / f"{name}.mrc") for name in ("reconstruction", "grandmodel"))
    inner = grandmodel[5:-5]
    match = {
        offset: np.corrcoef(tomogram[offset + 5 : offset + 55].ravel(), inner.ravel())[0, 1] for offset in range(1, 12)
    }
    assert min(match, key=match.get) == 6  # (72 - 60) // 2; protein is dark
