import numpy as np
import pytest
from conftest import beads
from typer.testing import CliRunner

from voxpick.average.fsc import shell_correlation, soft_sphere
from voxpick.cli import build_app
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.mrc import read_labels, read_mrc, write_mrc
from voxpick.io.shrec_model import open_model
from voxpick.particles import Particles

SHAPE = (32, 64, 96)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tomogram of six dark particles, and picks of them with their orientations."""
    folder = tmp_path_factory.mktemp("average")
    data, rng = np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32), np.random.default_rng(1)
    rotations = uniform_rotations_zyx(6, rng)
    centers = np.array([[16, y, x] for y in (16, 46) for x in (16, 46, 76)])
    for center, rotation in zip(centers, rotations, strict=True):
        window = tuple(slice(c - 14, c + 14) for c in center)
        data[window] -= beads(28, rotation)
    write_mrc(folder / "tomo.mrc", data, voxel_size=10.0)
    picks = Particles(centers * 10.0, np.full(6, "1bxn"), rotations=rotations, tomograms=np.full(6, "tomo"))
    write_particles(folder / "picks.star", picks, voxel_size=10.0, shape=SHAPE)
    return folder


def run(*arguments):
    result = CliRunner().invoke(build_app(), [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def test_average_writes_maps_table_and_picks_and_targets_make_training_data(place):
    output = place / "out"
    text = run("average", place / "picks.star", place / "tomo.mrc", "-o", output, "--iterations", 0, "--box", 28)
    assert "6 particles (0 dropped, 0 padded at edges)" in text
    found = read_mrc(output / "map.mrc")
    mask = soft_sphere((28,) * 3, radius=9, edge=3)
    assert shell_correlation(found.data, beads(28), voxel_size=10, mask=mask).correlation[1:9].min() > 0.85
    assert read_mrc(output / "half2.mrc").voxel_size == 10
    assert (output / "fsc.csv").read_text().startswith("frequency,resolution,correlation\n0,inf,")
    assert len(read_particles(output / "picks.star")) == 6

    folder = place / "model_0"
    text = run("targets", place / "tomo.mrc", output / "picks.star", "-o", folder, "--shape", "pasted",
               "--map", f"1bxn={output / 'map.mrc'}", "--radius", 110)  # fmt: skip
    assert "6 of 6 particles marked" in text
    write_mrc(folder / "reconstruction.mrc", read_mrc(place / "tomo.mrc"))
    model = open_model(folder)
    assert set(np.unique(model.occupancy_mask)) == set(range(7)) and set(np.unique(model.class_mask)) == {0, 12}
    dark = -read_mrc(place / "tomo.mrc").data
    assert dark[model.class_mask > 0].mean() > 5 * dark[model.class_mask == 0].mean()
    from voxpick.cli.train import read_training_volume

    assert len(read_training_volume(folder).particles) == 6


def test_spheres_have_the_class_s_radius(place):
    run("targets", place / "tomo.mrc", place / "picks.star", "-o", place / "balls", "--radius", "1bxn=20")
    assert (read_labels(place / "balls" / "class_mask.mrc") == 12).sum() == 6 * 33


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--class", "4cr2"], "no picks of class '4cr2'"),
        (["--box", "40"], "box of 40 voxels does not fit"),
        (["--voxel-size", "1", "--box", "20"], "6 boxes of 20 voxels reach|picks lie outside .* check the voxel size"),
        (["--edges", "wrap"], "--edges is 'wrap'"),
    ],
)
def test_mistakes_of_averaging_are_named(place, extra, message):
    with pytest.raises(VoxpickError, match=message):
        run("average", place / "picks.star", place / "tomo.mrc", "-o", place / "no", "--radius", "90", *extra)
    assert not (place / "no" / "map.mrc").exists()


def test_targets_that_lack_a_radius_or_a_map_are_refused(place):
    for extra, message in ((["--shape", "sphere"], "needs a positive --radius"), (["--shape", "cube"], "is 'cube'"),
                           (["--shape", "pasted", "--radius", "90"], "needs its average")):  # fmt: skip
        with pytest.raises(VoxpickError, match=message):
            run("targets", place / "tomo.mrc", place / "picks.star", "-o", place / "no", *extra)
