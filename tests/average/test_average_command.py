import json
import re

import mrcfile
import numpy as np
import pytest
from bead_particle import beads, observed
from typer.testing import CliRunner

from voxpick.average.fsc import shell_correlation, soft_sphere
from voxpick.cli import build_app
from voxpick.cli.averaging import in_box, make_averaging
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
    assert (
        (output / "fsc.csv").read_text().startswith("frequency,resolution,correlation,masked,unmasked,randomised\n0,")
    )
    assert "<td>boxes over an edge</td>" in (output / "report.html").read_text()
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
    from voxpick.cli.training_data import read_training_volume

    assert len(read_training_volume(folder).particles) == 6


def test_masks_from_positions_alone_cover_the_particles_that_were_there(tmp_path):
    """The whole chain through files, as a person goes it: 12 positions to the voxel, averaged from nothing, and pasted.

    Centres, orientations or outlines of another frame would show: the same outlines unturned overlap by less than half.
    """
    shape, box, rng = (32, 92, 124), 28, np.random.default_rng(0)
    centers = np.array([[16, y, x] for y in (16, 46, 76) for x in (16, 46, 76, 106)]) + rng.uniform(-1, 1, (12, 3))
    rotations = uniform_rotations_zyx(12, rng)
    density, truth = np.zeros(shape), np.zeros(shape, dtype=bool)
    for center, rotation in zip(centers, rotations, strict=True):
        nearest = np.rint(center).astype(int)
        window = tuple(slice(n - box // 2, n + box // 2) for n in nearest)
        particle = beads(box, rotation, center - nearest, sigma=1.9)
        density[window] += particle
        truth[window] |= particle > 0.12
    write_mrc(tmp_path / "tomo.mrc", -observed(density, tilts=(-60, 60), noise=0.05, rng=rng), voxel_size=10.0)
    write_particles(tmp_path / "picks.csv", Particles(np.rint(centers) * 10, np.full(12, "1bxn")))
    run("average", tmp_path / "picks.csv", tmp_path / "tomo.mrc", "-o", tmp_path / "out", "--radius", 90, "--box", box,
        "--iterations", 3, "--step", 30)  # fmt: skip
    overlap = {}
    for name in ("aligned", "unturned"):
        picks = read_particles(tmp_path / "out" / "picks.star")
        if name == "unturned":
            picks = picks.with_columns(rotations=np.tile(picks.rotations[0], (12, 1, 1)))
        write_particles(tmp_path / f"{name}.star", picks, voxel_size=10.0, shape=shape)
        run("targets", tmp_path / "tomo.mrc", tmp_path / f"{name}.star", "-o", tmp_path / name, "--shape", "pasted",
            "--map", f"1bxn={tmp_path / 'out' / 'map.mrc'}", "--radius", 100)  # fmt: skip
        found = read_labels(tmp_path / name / "class_mask.mrc") > 0
        overlap[name] = (found & truth).sum() / (found | truth).sum()
    assert overlap["aligned"] > 0.85 and overlap["unturned"] < 0.6


def test_averages_of_noise_from_nothing_have_no_resolution_and_say_why(tmp_path):
    noise = np.random.default_rng(5).normal(size=(54, 54, 54)).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", noise, voxel_size=10.0)
    places = 90 + 180 * np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    write_particles(tmp_path / "picks.csv", Particles(places))
    text = run("average", tmp_path / "picks.csv", tmp_path / "noise.mrc", "-o", tmp_path / "out", "--radius", 60,
               "--iterations", 1, "--step", 40)  # fmt: skip
    assert re.search(r"agree on nothing finer than 29 A; one was laid onto the other, on detail down to 60 A", text)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "laid onto the other, on detail down to 60 Å" in page and page.count(">–<") == 2
    start = run("average", tmp_path / "picks.csv", tmp_path / "noise.mrc", "-o", tmp_path / "led", "--radius", 60,
                "--iterations", 1, "--step", 40, "--reference", "1s3x")  # fmt: skip
    assert "laid onto" not in start + (tmp_path / "led" / "report.html").read_text()


def test_picks_of_one_particle_in_both_half_sets_are_told(place):
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    twice = picks[[0, 1, 2, 3, 4, 5, 2]]
    twice.centers_zyx[6] += 20
    write_particles(place / "twice.csv", twice)
    options = ["--iterations", 0, "--box", 28]
    text = run("average", place / "twice.csv", place / "tomo.mrc", "-o", place / "twice", *options)
    assert "twice.csv: 2 picks lie within 50 A, half of --radius, of another one" in text
    assert "of another one" not in run(
        "average", place / "picks.star", place / "tomo.mrc", "-o", place / "once", *options
    )


def test_a_reference_of_another_box_is_cut_or_padded_about_its_centre(place):
    write_mrc(place / "small.mrc", beads(20), voxel_size=10.0)
    text = run("average", place / "picks.star", place / "tomo.mrc", "-o", place / "from", "--iterations", 1, "--box",
               28, "--reference", place / "small.mrc", "--step", 40, "--radius", 90, "--mask", "map")  # fmt: skip
    assert "6 particles" in text
    found = read_mrc(place / "from" / "map.mrc")
    mask = soft_sphere((28,) * 3, radius=9, edge=3)
    assert shell_correlation(found.data, beads(28), voxel_size=10, mask=mask).correlation[1:6].min() > 0.7
    for box in (12, 13, 28, 31):
        assert in_box(beads(20), box)[box // 2, box // 2, box // 2] == pytest.approx(beads(20)[10, 10, 10])
    padded = in_box(np.pad(beads(9), ((0, 0), (2, 2), (4, 3))), 14)
    assert padded.shape == (14, 14, 14) and padded[3:12, 3:12, 3:12] == pytest.approx(beads(9), abs=1e-6)
    write_mrc(place / "coarse.mrc", beads(20), voxel_size=13.0)
    with pytest.raises(VoxpickError, match="voxels of 13 A"):
        run("average", place / "picks.star", place / "tomo.mrc", "-o", place / "no", "--reference",
            place / "coarse.mrc", "--box", 28)  # fmt: skip


def test_agreement_averages_the_parts_and_shows_them(place):
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    write_particles(place / "a.csv", picks[:5])
    write_particles(place / "b.csv", picks[[0, 1, 2, 3]].with_columns(centers_zyx=picks.centers_zyx[:4] + 8))
    text = run("agreement", place / "b.csv", place / "a.csv", "-o", place / "two", "--radius", 30, "--tomogram",
               place / "tomo.mrc", "--particle-radius", 90, "--iterations", 1, "--class", "1bxn")  # fmt: skip
    assert "4 picks in both, 0 only in b.csv, 1 only in a.csv" in text and "recall 0.800" in text
    numbers = json.loads((place / "two" / "agreement.json").read_text())["averages"]
    assert numbers["both"]["particles"] == 4 and set(numbers["both"]["resolution_A"]) == {"0.143", "0.5"}
    assert numbers["only_picks"] is None and numbers["only_other"] is None
    assert 30 < numbers["both"]["conclusive_A"] < 90
    assert [path.name for path in (place / "two" / "averages").iterdir()] == ["both.mrc"]
    assert (place / "two" / "fsc.csv").read_text().startswith("frequency,both\n0,")
    assert "too few particles" in (place / "two" / "report.html").read_text()
    with pytest.raises(VoxpickError, match=r"b\.csv: holds no picks of class '4cr2', but 1bxn"):
        run("agreement", place / "b.csv", place / "a.csv", "-o", place / "no", "--radius", 30, "--class", "4cr2")
    write_mrc(place / "membrane.mrc", np.ones((4, 5, 6), dtype=np.int8), voxel_size=10.0)
    with pytest.raises(VoxpickError, match=r"membrane\.mrc: has shape \(4, 5, 6\)"):
        run("agreement", place / "b.csv", place / "a.csv", "-o", place / "no", "--radius", 30, "--near",
            place / "membrane.mrc", "--tomogram", place / "tomo.mrc")  # fmt: skip


def test_agreement_tells_how_many_picks_at_edges_its_averages_leave_out(place):
    """They were dropped in silence, and a part of them alone had too few particles for no reason that was told."""
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE).with_columns(rotations=None)
    at_edges = np.array([[160, 160, 20], [160, 620, 460.0]])
    more = Particles(np.concatenate([picks.centers_zyx, at_edges]), tomograms=np.full(8, "tomo"))
    write_particles(place / "more.csv", more)
    write_particles(place / "fewer.csv", more[[0, 1, 2, 3, 4, 6]])
    words = ["agreement", place / "more.csv", place / "fewer.csv", "--radius", 30, "--tomogram", place / "tomo.mrc",
             "--particle-radius", 90, "--iterations", 1]  # fmt: skip
    text = run(*words, "-o", place / "dropped")
    left = "1 of 6 in both.csv, 1 of 2 in only_picks.csv; --edges pad keeps those at edges"
    assert f"dropped: averages leave out picks without a whole box in their tomogram: {left}" in text
    numbers = json.loads((place / "dropped" / "agreement.json").read_text())
    assert numbers["without_box"] == {"both": 1, "only_picks": 1, "only_other": 0}
    assert numbers["averages"]["both"]["particles"] == 5 and numbers["averages"]["only_picks"] is None
    page = (place / "dropped" / "report.html").read_text()
    assert "too few particles: of 2 picks 1 leave a whole box" in page and "1 of 6 both, 1 of 2 only more.csv" in page
    assert "leave out" not in run(*words, "-o", place / "padded", "--edges", "pad")
    numbers = json.loads((place / "padded" / "agreement.json").read_text())
    assert numbers["averages"]["both"]["particles"] == 6 and numbers["averages"]["only_picks"]["particles"] == 2
    with pytest.raises(VoxpickError, match="--edges is 'wrap'"):
        run(*words, "-o", place / "no", "--edges", "wrap")


def test_agreement_names_its_two_radii_and_refuses_frames_that_differ(place):
    words = ["agreement", place / "picks.star", place / "picks.star", "-o", place / "no"]
    tomogram = ["--tomogram", place / "tomo.mrc"]
    with pytest.raises(VoxpickError, match=r"^--radius is 0; give how far apart, in A, two picks may lie"):
        run(*words, "--radius", 0)
    with pytest.raises(VoxpickError, match=r"^--particle-radius is 0; it must be a positive number of A"):
        run(*words, "--radius", 30, *tomogram, "--particle-radius", 0)
    data = read_mrc(place / "tomo.mrc").data
    write_mrc(place / "finer.mrc", data, voxel_size=8.0)
    with pytest.raises(VoxpickError, match="10 A and 8 A voxels cannot be averaged together"):
        run(*words, "--radius", 30, *tomogram, "--tomogram", place / "finer.mrc")
    labels = np.ones(SHAPE, dtype=np.int8)
    for size in (8.0, 10.05, 1.0):
        write_mrc(place / f"mask_{size}.mrc", labels, voxel_size=size)
    with mrcfile.new(place / "mask_0.0.mrc") as file:
        file.set_data(labels)
    near = ["--radius", 30, *tomogram, "--particle-radius", 90, "--iterations", 1, "--overwrite", "--near"]
    with pytest.raises(VoxpickError, match=r"mask_8\.0\.mrc: has voxels of 8 A, the tomogram 10 A"):
        run(*words, *near, place / "mask_8.0.mrc")
    words[-1] = place / "near"
    for size in (10.05, 1.0, 0.0):
        assert "6 picks in both" in run(*words, *near, place / f"mask_{size}.mrc")
    assert "6 picks in both" in run(*words, *near, place / "mask_8.0.mrc", "--voxel-size", 10)


@pytest.mark.parametrize("edges", ["drop", "pad"])
def test_picks_that_all_lie_at_edges_are_told_the_two_ways_out(place, edges):
    at_edges = Particles(np.array([[160, 160, 20], [160, 620, 460.0]]), rotations=np.tile(np.eye(3), (2, 1, 1)))
    write_particles(place / "edges.csv", at_edges)
    words = ["average", place / "edges.csv", place / "tomo.mrc", "-o", place / f"edges_{edges}", "--box", 28,
             "--iterations", 0, "--edges", edges]  # fmt: skip
    if edges == "pad":
        assert "2 particles (0 dropped, 2 padded at edges)" in run(*words)
        return
    with pytest.raises(VoxpickError, match=r"edges\.csv: nothing to average \(tomo: no box of 28 voxels of its 2 picks"
                       r" lies within it\); take a smaller --box, or --edges pad$"):  # fmt: skip
        run(*words)


def test_no_picks_are_nothing_to_average_and_nothing_to_mark(place):
    write_particles(place / "none.csv", Particles(np.empty((0, 3))))
    with pytest.raises(VoxpickError, match=r"none\.csv: holds no picks, so there is nothing to average"):
        run("average", place / "none.csv", place / "tomo.mrc", "-o", place / "no")
    with pytest.raises(VoxpickError, match=r"none\.csv: holds no picks, so there is nothing to mark"):
        run("targets", place / "tomo.mrc", place / "none.csv", "-o", place / "no", "--radius", "50")


def test_tomograms_without_a_usable_pick_are_left_out(place):
    """TS_03 has no pick, TS_02 one at its edge; the table of sizes in a STAR file holds for both."""
    tomogram = read_mrc(place / "tomo.mrc")
    for name, data in (("TS_01", tomogram.data), ("TS_02", tomogram.data[:30]), ("TS_03", tomogram.data)):
        write_mrc(place / f"{name}.mrc", data, voxel_size=10.0)
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    picks = picks[[0, 1, 2, 3, 4, 5, 0]].with_columns(tomograms=np.array(["TS_01"] * 6 + ["TS_02"]))
    picks.centers_zyx[6] = [160, 160, 20]
    shapes = {"TS_01": SHAPE, "TS_02": (30, *SHAPE[1:])}
    write_particles(place / "series.star", picks, voxel_size=10.0, shape=shapes)
    files = [place / f"TS_0{k}.mrc" for k in (1, 2, 3)]
    options = ["-o", place / "series", "--box", 28, "--iterations", 0]
    text = run("average", place / "series.star", *files, *options, "--device", "auto")
    assert "6 particles (1 dropped" in text
    assert "left out: TS_02: no box of 28 voxels of its 1 picks lies within it; TS_03: no picks" in text
    assert "its orientations are kept or only refined" in text
    several = r"nothing to average \(TS_02: no box .*; TS_03: no picks\); take a smaller --box, or --edges pad; with"
    with pytest.raises(VoxpickError, match=several):
        run("average", place / "series.star", *files[1:], *options, "--overwrite")
    write_particles(place / "nameless.csv", picks.with_columns(tomograms=None))
    for more in ([], ["--class", str(picks.classes[0])]):
        with pytest.raises(VoxpickError, match=r"nameless\.csv: its picks name no tomogram, and of several"):
            run("average", place / "nameless.csv", *files, *options, *more, "--overwrite")


def test_agreement_reads_picks_in_the_frame_of_their_own_tomogram(place):
    tomogram = read_mrc(place / "tomo.mrc")
    for name, data in (("long", tomogram.data), ("short", tomogram.data[:30])):
        write_mrc(place / f"{name}.mrc", data, voxel_size=10.0)
    centers = np.array([[160, 160, 160], [160, 460, 760], [150, 160, 160], [140, 460, 760]])
    picks = Particles(centers, np.full(4, "1bxn"), tomograms=np.array(["long", "long", "short", "short"]))
    shapes = {"long": SHAPE, "short": (30, *SHAPE[1:])}
    write_particles(place / "mine.star", picks, voxel_size=10.0, shape=shapes)
    write_particles(place / "theirs.csv", picks)
    text = run("agreement", place / "mine.star", place / "theirs.csv", "-o", place / "frames", "--radius", 15,
               "--tomogram", place / "long.mrc", "--tomogram", place / "short.mrc", "--particle-radius", 90,
               "--iterations", 1)  # fmt: skip
    assert "4 picks in both, 0 only in mine.star, 0 only in theirs.csv" in text


def test_agreement_tells_of_the_picks_that_a_tomogram_leaves_out(place):
    """The counts with --tomogram were of fewer picks than without, and nothing said so."""
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    names = np.array(["tomo", "tomo", "TS_1", "TS_2", "TS_3", "TS_4"])
    write_particles(place / "many.csv", picks.with_columns(tomograms=names))
    write_particles(place / "few.csv", picks[:3].with_columns(tomograms=names[:3]))
    text = run("agreement", place / "many.csv", place / "few.csv", "-o", place / "left", "--radius", 30, "--tomogram",
               place / "tomo.mrc", "--particle-radius", 90, "--iterations", 1)  # fmt: skip
    assert "2 picks in both, 0 only in many.csv, 0 only in few.csv" in text
    assert "many.csv: picks of 4 other tomograms are left out (TS_1, TS_2, TS_3, ...)" in text
    assert "few.csv: picks of another tomogram are left out (TS_1)" in text


def test_random_places_keep_away_from_picks_of_all_classes(place, monkeypatch):
    from voxpick.average import parts
    from voxpick.cli import agreement_averages

    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    picks = picks.with_columns(classes=np.array(["1bxn"] * 3 + ["4cr2"] * 2 + ["4d8q"]))
    write_particles(place / "classes_a.csv", picks[:5])
    write_particles(place / "classes_b.csv", picks[[0, 5]])
    avoided = []

    def spy(volumes, part, sure, everything, how, **options):
        avoided.append(everything.centers_zyx.tolist())
        return parts.PartAverages(len(part), None, None, None)

    monkeypatch.setattr(agreement_averages, "average_part", spy)
    run("agreement", place / "classes_a.csv", place / "classes_b.csv", "-o", place / "avoid", "--radius", 30, "--class",
        "1bxn", "--tomogram", place / "tomo.mrc", "--particle-radius", 90, "--reference", "1bxn")  # fmt: skip
    assert avoided and all({tuple(c) for c in found} == {tuple(c) for c in picks.centers_zyx} for found in avoided)


def test_a_stray_pick_does_not_stop_a_comparison(place, monkeypatch):
    """A part's only pick lay outside: the command ended after it had averaged the others, and wrote nothing."""
    from voxpick.cli import agreement_averages

    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    stray = picks[[0, 1, 2, 3]]
    stray.centers_zyx[3] = [9000, 0, 0]
    write_particles(place / "sure.csv", picks[:3])
    write_particles(place / "stray.csv", stray)
    words = ["agreement", place / "stray.csv", place / "sure.csv", "--radius", 30, "--tomogram", place / "tomo.mrc",
             "--particle-radius", 90, "--iterations", 1]  # fmt: skip
    assert "3 picks in both, 1 only in stray.csv" in run(*words, "-o", place / "with_stray")
    numbers = json.loads((place / "with_stray" / "agreement.json").read_text())["averages"]
    assert numbers["both"]["particles"] == 3 and numbers["only_picks"] is None
    write_particles(place / "frame.csv", picks.with_columns(centers_zyx=picks.centers_zyx * 10))
    words[1] = place / "frame.csv"
    with pytest.raises(VoxpickError, match=r"frame\.csv: 6 of 6 picks lie outside tomo .* check the voxel size"):
        run(*words, "-o", place / "no_frame")
    words[1] = place / "stray.csv"
    with pytest.raises(VoxpickError, match="box of 60 voxels does not fit"):
        run(*words, "--particle-radius", 200, "-o", place / "no_frame")
    assert not (place / "no_frame").exists()
    monkeypatch.setattr(agreement_averages, "average_picks", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(*words, "-o", place / "interrupted")
    assert not list((place / "interrupted").glob("*")), "parts without their averages look like a whole comparison"


def test_averages_of_parts_need_picks_of_the_tomograms_and_tomograms(place):
    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    write_particles(place / "unnamed.csv", picks.with_columns(tomograms=None))
    write_mrc(place / "twin.mrc", read_mrc(place / "tomo.mrc").data, voxel_size=10.0)
    words = ["agreement", place / "unnamed.csv", place / "unnamed.csv", "-o", place / "no", "--radius", 30]
    with pytest.raises(VoxpickError, match=r"unnamed\.csv: holds no picks of tomo or twin"):
        run(*words, "--tomogram", place / "tomo.mrc", "--tomogram", place / "twin.mrc")
    with pytest.raises(VoxpickError, match=r"--reference 1bxn: .* need the --tomogram"):
        run(*words, "--reference", "1bxn")


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--bright"], "--bright"),
        (["--tilts", "-50", "60"], "--tilts -50.0 60.0"),
        (["--device", "cpu"], "--device cpu"),
        (["--particle-radius", "90"], "--particle-radius 90.0"),
        (["--iterations", "4"], "--iterations 4"),
        (["--seed", "1"], "--seed 1"),
        (["--edges", "pad"], "--edges pad"),
    ],
)
def test_options_of_averages_need_a_tomogram(place, extra, told):
    words = ["agreement", place / "picks.star", place / "picks.star", "-o", place / "no", "--radius", 30]
    with pytest.raises(VoxpickError, match=f"^{told}: is for averages, which need the --tomogram"):
        run(*words, *extra)


def test_half_maps_that_do_not_agree_are_said_not_to(place):
    rng = np.random.default_rng(3)
    write_mrc(place / "noise.mrc", rng.normal(size=SHAPE).astype(np.float32), voxel_size=10.0)
    picks = Particles(np.array([[160, 160, 160], [160, 460, 760]]), rotations=np.tile(np.eye(3), (2, 1, 1)))
    write_particles(place / "two.csv", picks)
    text = run("average", place / "two.csv", place / "noise.mrc", "-o", place / "none", "--box", 28, "--iterations", 0)
    assert "nan" not in text and "half maps" in text


def test_spheres_have_the_class_s_radius(place):
    run("targets", place / "tomo.mrc", place / "picks.star", "-o", place / "balls", "--radius", "1bxn=20")
    assert (read_labels(place / "balls" / "class_mask.mrc") == 12).sum() == 6 * 33


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--class", "4cr2"], "no picks of class '4cr2'"),
        (["--box", "40"], "box of 40 voxels does not fit"),
        pytest.param(
            ["--voxel-size", "1", "--box", "20", "--radius", "9"],
            "6 boxes of 20 voxels reach|picks lie outside .* check the voxel size",
            marks=pytest.mark.filterwarnings("ignore:.* was written of a tomogram of:UserWarning"),  # and it was
        ),
        (["--edges", "wrap"], "--edges is 'wrap'"),
        (
            ["--radius", "500", "--box", "28"],
            "--box 28 is 280 A wide, .* mask of --radius 500.* at least 100 voxels",
        ),
        (["--radius", "0"], "--radius is 0; it must be a positive number"),
        (["--max-shift", "140.5", "--box", "28"], "--max-shift 140.5 is more than half the box, 140 A"),
        (["--local", "--step", "360"], "--step 360: --local searches around .* at most 90 degrees"),
        (["--mask", "cube"], "--mask is 'cube'"),
        (["--step", "1"], "step of 1 degrees makes 14851067 rotations.*smallest step that fits is"),
        (["--tilts", "60", "-60"], "tilt range 60 to -60 degrees; give two limits in order"),
        (["--reference", "1bxn", "--iterations", "0"], "--reference 1bxn: --iterations 0 aligns nothing"),
        (["--step", "20", "--iterations", "0"], "--step 20.0: --iterations 0 aligns nothing"),
        (["--finest", "2", "--iterations", "0"], "--finest 2.0: --iterations 0 aligns nothing"),
        (["--low-pass", "30", "--iterations", "0"], "--low-pass 30.0: --iterations 0 aligns nothing"),
        (["--max-shift", "9", "--iterations", "0"], "--max-shift 9.0: --iterations 0 aligns nothing"),
        (["--local", "--iterations", "0"], "--local: --iterations 0 aligns nothing"),
        (["--voxel-size", "1e-30"], "voxels of 1e-30 A make boxes of more than 2048 voxels a side"),
        (["--box", "9999999999999999999"], "--radius 90 A and voxels of .* make boxes of more than 2048"),
    ],
)
def test_mistakes_of_averaging_are_named(place, extra, message):
    with pytest.raises(VoxpickError, match=message):
        run("average", place / "picks.star", place / "tomo.mrc", "-o", place / "no", "--radius", "90", *extra)
    assert not (place / "no" / "map.mrc").exists()


def test_centres_move_by_a_quarter_of_the_radius_at_most_and_by_one_to_three_voxels():
    moved = {radius: make_averaging(10.0, radius=radius).alignment.max_shift for radius in (25, 60, 100, 400)}
    assert moved == {25: 10, 60: 15, 100: 25, 400: 30}
    assert make_averaging(10.0, radius=25, max_shift=20).alignment.max_shift == 20


def test_folders_of_tomograms_with_different_classes_train_together(place):
    """Each tomogram's classes were numbered by themselves, so that two folders gave one number to two classes."""
    from voxpick.cli.training_data import gather

    picks = read_particles(place / "picks.star", voxel_size=10.0, shape=SHAPE)
    names, classes = ["TS_1"] * 4 + ["TS_2"] * 2, ["alpha", "alpha", "gamma", "gamma", "beta", "beta"]
    picks = picks.with_columns(tomograms=np.array(names), classes=np.array(classes))
    write_particles(place / "both.csv", picks)
    folders, radii = [place / "set" / "model_1", place / "set" / "model_2"], ["alpha=30", "beta=40", "gamma=50"]
    for name, folder in zip(("TS_1", "TS_2"), folders, strict=True):
        write_mrc(place / f"{name}.mrc", read_mrc(place / "tomo.mrc").data, voxel_size=10.0)
        given = [word for radius in radii for word in ("--radius", radius)]
        run("targets", place / f"{name}.mrc", place / "both.csv", "-o", folder, *given)
        write_mrc(folder / "reconstruction.mrc", read_mrc(place / f"{name}.mrc"))
    assert [sorted(np.unique(read_labels(folder / "class_mask.mrc"))) for folder in folders] == [[0, 1, 3], [0, 2]]
    assert gather(folders, picks=[], radius=[], partial=None).classes == ["alpha", "beta", "gamma"]
    assert gather(folders[:1], picks=[], radius=[], partial=None).classes == ["alpha", "gamma"]
    with pytest.raises(VoxpickError, match="--radius delta=9: no pick is of class 'delta'"):
        run("targets", place / "TS_1.mrc", place / "both.csv", "-o", place / "no", "--radius", "delta=9")


def test_targets_that_lack_a_radius_or_a_map_are_refused(place):
    for extra, message in ((["--shape", "sphere"], "needs a positive --radius"), (["--shape", "cube"], "is 'cube'"),
                           (["--shape", "pasted", "--radius", "90"], "needs its average"),
                           (["--radius", "9"], "--radius 9 A is less than a voxel of 10 A"),
                           (["--radius", "900"], "--radius 900 A makes a ball wider than the tomogram of"),
                           (["--radius", "90", "--map", "1bxn=a.mrc"], "--map 1bxn=a.mrc: has nothing to do"),
                           (["--radius", "90", "--threshold", "1"], "--threshold 1: is that of maps"),
                           (["--radius", "90", "--volume", "9"], "--volume 9: is that of outlines of maps"),
                           (["--radius", "90", "--shape", "pasted", "--volume", "9", "--threshold", "1"],
                            "--volume 9: chooses the threshold, as --threshold does"),
                           (["--radius", "90", "--volume", "x=9", "--shape", "pasted"], "no pick is of class 'x'"),
                           (["--radius", "wide"], "--radius wide: is not a number of A"),
                           (["--radius", "90", "--extend", "1"], "--extend 1: is that of outlines of maps"),
                           (["--radius", "90", "--shape", "pasted", "--extend", "-1"], "--extend is -1; it must be"),
                           (["--shape", "point", "--radius", "90"], "--radius 90: points have none")):  # fmt: skip
        with pytest.raises(VoxpickError, match=message):
            run("targets", place / "tomo.mrc", place / "picks.star", "-o", place / "no", *extra)


def test_an_outline_holds_at_most_the_volume_that_is_known(place):
    """Particles that turned the wrong way make a blur, whose outline was many times too large and told of nothing."""
    off = np.indices((28,) * 3) - np.reshape([14.31, 13.77, 14.13], (3, 1, 1, 1))
    blur = np.exp(-(np.linalg.norm(off, axis=0) ** 2) / 72).astype(np.float32)
    write_mrc(place / "blur.mrc", blur, voxel_size=10.0)
    words = ["targets", place / "tomo.mrc", place / "picks.star", "--shape", "pasted", "--map", place / "blur.mrc",
             "--radius", 110, "--extend", 0, "-o"]  # fmt: skip
    run(*words, place / "wide")
    wide = (read_labels(place / "wide" / "class_mask.mrc") > 0).sum()
    text = run(*words, place / "known", "--volume", "1bxn=300")
    assert f"blur.mrc: at Otsu's threshold its outline holds {wide / 1800:.1f} times the --volume of 1bxn" in text
    assert (read_labels(place / "known" / "class_mask.mrc") > 0).sum() == pytest.approx(6 * 300, rel=0.1)
    assert "at Otsu's" not in run(*words, place / "enough", "--volume", 5000)
    assert (read_labels(place / "enough" / "class_mask.mrc") > 0).sum() == wide
    assert "of the --volume" not in run(*words, place / "near", "--volume", wide / 6 * 2)
    text = run(*words, place / "less", "--volume", wide / 6 * 5)
    assert "blur.mrc: its outline holds 0.20 of the --volume of 1bxn" in text
    for volume in ("0.5", "-3", "nan", "inf"):
        with pytest.raises(VoxpickError, match=f"--volume {volume} nm3 is less than a voxel, or no volume"):
            run(*words, place / "no", "--volume", volume)


@pytest.mark.parametrize(
    ("name", "tomograms", "warned"),
    [("TS_7.star", "TS_7", True), ("own.csv", "tomogram", False), ("own.tbl", "7", False)],
)
def test_picks_that_name_another_tomogram_are_used_with_a_warning(place, tmp_path, name, tomograms, warned):
    """Only `report` told; targets and averages were made of picks of another tomogram without a word."""
    picks = read_particles(place / "picks.star").with_columns(tomograms=np.full(6, tomograms, dtype=object))
    write_particles(tmp_path / name, picks, voxel_size=10.0, shape=SHAPE)
    sphere = ["--shape", "sphere", "--radius", 50]
    for text in (
        run("targets", place / "tomo.mrc", tmp_path / name, "-o", tmp_path / "model_0", *sphere),
        run("average", tmp_path / name, place / "tomo.mrc", "-o", tmp_path / "out", "--iterations", 0, "--box", 28),
        run("report", place / "tomo.mrc", tmp_path / name, "-o", tmp_path / "page.html"),
    ):
        assert ("says its picks are of 'TS_7', not 'tomo'" in text) == warned
        assert warned or "says its picks" not in text
