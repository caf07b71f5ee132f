import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.evaluate.agreement import compare, distances_to_mask, histogram
from voxpick.particles import Particles

EXPERT = Particles(np.array([[0, 0, 0], [0, 0, 100], [0, 90, 0], [300, 0, 0]], dtype=float), ["r"] * 4)
NETWORK = Particles(np.array([[0, 0, 104], [0, 3, 0], [500, 0, 0]], dtype=float), ["r"] * 3, [0.9, 0.8, 0.3])


def test_intersection_and_differences_by_hand():
    found = compare(EXPERT, NETWORK, radius=10)
    assert found.rows_a.tolist() == [1, 0] and found.rows_b.tolist() == [0, 1]
    assert found.both.centers_zyx.tolist() == NETWORK.centers_zyx[:2].tolist()
    assert found.only_a.centers_zyx.tolist() == EXPERT.centers_zyx[2:].tolist()
    assert found.only_b.centers_zyx.tolist() == [[500, 0, 0]]
    assert (found.counts.recall, found.counts.precision) == (0.5, pytest.approx(2 / 3))
    assert found.counts.f_beta == pytest.approx(4 / 7)
    assert found.curve.threshold.tolist() == [0.9, 0.8, 0.3]
    assert found.curve.recall.tolist() == [0.25, 0.5, 0.5] and found.curve.precision.tolist()[:2] == [1, 1]
    numbers = found.to_dict()
    assert (numbers["both"], numbers["only_a"], numbers["only_b"], numbers["mean_distance_A"]) == (2, 2, 1, 3.5)


def test_parts_hold_every_pick_once_and_a_picking_agrees_with_itself():
    rng = np.random.default_rng(0)
    a, b = (Particles(rng.uniform(0, 300, (n, 3))) for n in (40, 55))
    found = compare(a, b, radius=60)
    assert len(found.both) + len(found.only_a) == 40 and len(found.both) + len(found.only_b) == 55
    assert found.distances.max() <= 60
    same = compare(a, a, radius=5)
    assert (len(same.both), len(same.only_a), len(same.only_b), same.counts.f_beta) == (40, 0, 0, 1.0)


def test_pairs_lie_in_one_tomogram():
    centers = np.array([[0, 0, 0], [0, 0, 50], [0, 0, 0.0]])
    a = Particles(centers, tomograms=np.array(["one", "one", "two"]))
    b = Particles(centers[[2, 0]], tomograms=np.array(["two", "three"]))
    found = compare(a, b, radius=10)
    assert (found.rows_a.tolist(), found.rows_b.tolist()) == ([2], [0])
    assert (len(found.only_a), len(found.only_b)) == (2, 1)
    other_name = b[:1].with_columns(tomograms=np.array(["two_filtered"]))
    assert compare(a[[2]], other_name, radius=10).rows_a.tolist() == [0]


def test_distances_to_a_mask_equal_a_slow_search():
    rng = np.random.default_rng(1)
    mask = rng.random((12, 20, 28)) > 0.995
    picks = Particles(rng.uniform(0, 1, (30, 3)) * (np.array(mask.shape) - 1) * 8)
    voxels = np.argwhere(mask)
    expected = [8 * np.linalg.norm(voxels - np.rint(c / 8), axis=1).min() for c in picks.centers_zyx]
    assert distances_to_mask(picks, mask, voxel_size=8) == pytest.approx(expected)
    outside = Particles(np.array([[0, 0, 40 * 8.0]]))
    whole = distances_to_mask(outside, np.ones_like(mask), voxel_size=8)
    assert whole.tolist() == [8 * 13]


def test_histogram_by_hand():
    assert histogram(np.array([0, 10, 49, 50, 120.0])) == {"edges_A": [0, 50, 100, 150], "counts": [3, 1, 1]}
    assert histogram(np.empty(0)) == {"edges_A": [0, 50], "counts": [0]}


def test_mistakes_are_named():
    with pytest.raises(VoxpickError, match="radius is 0"):
        compare(EXPERT, NETWORK, radius=0)
    with pytest.raises(VoxpickError, match="holds no voxel"):
        distances_to_mask(EXPERT, np.zeros((4, 5, 6)), voxel_size=10)
    nothing = compare(EXPERT, Particles(np.empty((0, 3))), radius=10)
    assert (len(nothing.only_a), nothing.counts.f_beta, nothing.to_dict()["mean_distance_A"]) == (4, 0.0, None)


def test_the_command_writes_the_three_parts_and_distances_to_a_mask(tmp_path):
    import json

    from typer.testing import CliRunner

    from voxpick.cli import build_app
    from voxpick.io.formats import read_particles, write_particles
    from voxpick.io.mrc import write_mrc

    write_particles(tmp_path / "expert.csv", EXPERT)
    write_particles(tmp_path / "network.csv", NETWORK)
    membrane = np.zeros((60, 12, 14), dtype=np.int8)
    membrane[0] = 1
    write_mrc(tmp_path / "membrane.mrc", membrane, voxel_size=10.0)
    arguments = ["evaluate", "network.csv", "expert.csv", "--agreement", "out", "--near", "membrane.mrc"]
    line = [str(tmp_path / word) if "." in word or word == "out" else word for word in arguments]
    run = CliRunner().invoke(build_app(), [*line, "--radius", "10"], standalone_mode=False)
    assert "2 picks in both, 1 only in network.csv, 2 only in expert.csv" in run.output
    assert [len(read_particles(tmp_path / "out" / f"{name}.csv")) for name in ("both", "only_picks", "only_other")] == [
        2, 1, 2,
    ]  # fmt: skip
    numbers = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert numbers["picks_against_other"]["recall"] == 0.5
    assert numbers["distance_to_mask"]["only_other"]["counts"] == [1, 0, 0, 0, 0, 0, 1]
    assert CliRunner().invoke(build_app(), [*line, "--radius", "10"], standalone_mode=False).exception is None
    (tmp_path / "out" / "fsc.csv").write_text("of voxpick agreement --tomogram")
    kept = CliRunner().invoke(build_app(), [*line, "--radius", "10"], standalone_mode=False)
    assert "earlier comparison without averages is replaced" in str(kept.exception)
    (tmp_path / "out" / "fsc.csv").unlink()
    refused = CliRunner().invoke(build_app(), line, standalone_mode=False)
    assert isinstance(refused.exception, VoxpickError) and "needs --radius" in str(refused.exception)


def test_a_mask_that_does_not_know_its_voxels_is_not_believed(tmp_path):
    """With a header of 1 A all picks lay outside, hundreds of A from a membrane that they touch, without a word."""
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles
    from voxpick.io.mrc import write_mrc

    files, mask = [tmp_path / "network.csv", tmp_path / "expert.csv"], tmp_path / "mask.mrc"
    for file, picks in zip(files, (NETWORK, EXPERT), strict=True):
        write_particles(file, picks)
    for size, told in ((1.0, r"mask\.mrc: its header says voxels of 1 A, as of programs that do not know; say --voxel"),
                       (2.0, r"network\.csv: 2 of 3 picks lie outside .*mask\.mrc with voxels of 2 A")):  # fmt: skip
        write_mrc(mask, np.ones((60, 12, 14), dtype=np.int8), voxel_size=size)
        with pytest.raises(VoxpickError, match=told):
            compare_pickings(*files, tmp_path / "out", radius=10, near=mask, voxel_size=None)
        found = compare_pickings(*files, tmp_path / f"out_{size}", radius=10, near=mask, voxel_size=10.0)
        assert [sum(part["counts"]) for part in found["distance_to_mask"].values()] == [2, 1, 2]


def test_distances_of_all_parts_take_one_transform_of_the_mask(tmp_path, monkeypatch):
    from scipy import ndimage

    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles
    from voxpick.io.mrc import write_mrc

    write_particles(tmp_path / "expert.csv", EXPERT)
    write_particles(tmp_path / "network.csv", NETWORK)
    write_mrc(tmp_path / "mask.mrc", np.ones((60, 12, 14), dtype=np.int8), voxel_size=10.0)
    transform, calls = ndimage.distance_transform_edt, []
    monkeypatch.setattr(ndimage, "distance_transform_edt", lambda mask: calls.append(1) or transform(mask))
    files = tmp_path / "network.csv", tmp_path / "expert.csv"
    found = compare_pickings(*files, tmp_path / "out", radius=10, near=tmp_path / "mask.mrc", voxel_size=None)
    assert len(calls) == 1
    assert [sum(part["counts"]) for part in found["distance_to_mask"].values()] == [2, 1, 2]


def test_files_of_one_name_are_told_apart(tmp_path):
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles

    files = [tmp_path / run / "TS_01.csv" for run in ("first", "second")]
    for file, picks in zip(files, (NETWORK, EXPERT), strict=True):
        write_particles(file, picks)
    compare_pickings(*files, tmp_path / "out", radius=10, near=None, voxel_size=None)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "only first/TS_01.csv: 1" in page and "only second/TS_01.csv: 2" in page
    result = compare_pickings(files[0], files[0], tmp_path / "again", radius=10, near=None, voxel_size=None)
    assert (result["picks"], result["other"]) == ("TS_01.csv", "TS_01.csv again")


def test_tomograms_that_one_picking_alone_has_are_told(tmp_path, capsys):
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles

    one = EXPERT.with_columns(tomograms=np.array(["one"] * 4))
    two = EXPERT.with_columns(tomograms=np.array(["one", "one", "two", "two"]))
    write_particles(tmp_path / "one.csv", one)
    write_particles(tmp_path / "two.csv", two)
    paths = tmp_path / "one.csv", tmp_path / "two.csv"
    result = compare_pickings(*paths, tmp_path / "out", radius=10, near=None, voxel_size=None)
    assert (result["both"], result["only_picks"], result["only_other"]) == (2, 2, 2)
    told = capsys.readouterr().err
    assert "two.csv: alone has picks in two; they" in told and "one.csv: alone" not in told
    compare_pickings(paths[1], paths[1], tmp_path / "again", radius=10, near=None, voxel_size=None)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "suffix", "warned"),
    [
        (("TS_1", "TS_2"), ".csv", True),
        (("TS_1", "TS_1"), ".csv", False),
        (("TS_1", "tomogram"), ".csv", False),
        (("TS_1", "7"), ".csv", False),
        (("TS_1", "TS_2"), ".cbox", False),
    ],
)
def test_pickings_of_two_tomograms_are_told(tmp_path, capsys, names, suffix, warned):
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles

    a, b = tmp_path / "a.csv", tmp_path / f"b{suffix}"
    for path, name in ((a, names[0]), (b, names[1])):
        picks = EXPERT.with_columns(tomograms=np.array([name] * 4))
        write_particles(path, picks, voxel_size=10.0, shape=(60, 60, 60))
    compare_pickings(a, b, tmp_path / "out", radius=10, near=None, voxel_size=10.0)
    assert (f"a.csv: says its picks are of 'TS_1', {b} of 'TS_2'" in capsys.readouterr().err) == warned


def test_pickings_without_a_common_tomogram_are_refused(tmp_path):
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles

    for name, tomograms in (("a", ["one", "one", "two", "two"]), ("b", ["three", "four", "three", "four"])):
        write_particles(tmp_path / f"{name}.csv", EXPERT.with_columns(tomograms=np.array(tomograms)))
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    with pytest.raises(VoxpickError, match=r"a\.csv names the tomograms one, two, .*b\.csv four, three"):
        compare_pickings(a, b, tmp_path / "out", radius=10, near=None, voxel_size=None)
    result = compare_pickings(a, a, tmp_path / "out", radius=10, near=None, voxel_size=None)
    assert (result["both"], result["only_picks"], result["only_other"]) == (4, 0, 0)
    (tmp_path / "none.csv").write_text("tomogram,class,x_angstrom,y_angstrom,z_angstrom,score\n")
    with pytest.raises(VoxpickError, match=r"none\.csv.*no picks|no particles|empty"):
        compare_pickings(tmp_path / "none.csv", a, tmp_path / "none", radius=10, near=None, voxel_size=None)


def test_the_curve_takes_the_surer_pick_and_the_pairs_the_nearer_one():
    a = Particles(np.zeros((1, 3)))
    b = Particles(np.array([[0, 0, 1.0], [0, 0, 5.0]]), scores=np.array([0.1, 0.9]))
    found = compare(a, b, radius=10)
    assert found.rows_b.tolist() == [0] and found.distances.tolist() == [1]
    assert found.curve.precision.tolist() == [1, 0.5]


def test_the_curve_ends_where_the_counts_are():
    """Picks that no other pairs with hit nothing: not the first row either, which here is alone as well."""
    a, b = Particles(np.array([[300.0, 0, 0], [0, 0, 0]])), Particles(np.array([[500.0, 0, 0], [0, 0, 1]]))
    found = compare(a, b.with_columns(scores=np.array([0.9, 0.2])), radius=10)
    assert found.curve.precision.tolist() == [0, 0.5] and found.curve.recall.tolist() == [0, 0.5]
    assert (found.counts.precision, found.counts.recall) == (0.5, 0.5)


def test_in_each_tomogram_its_own_surer_pick_is_taken_for_the_curve():
    a = Particles(np.zeros((2, 3)), tomograms=np.array(["one", "two"]))
    centers, scores = np.array([[0, 0, 1.0], [0, 0, 5], [0, 0, 1], [0, 0, 5]]), np.array([0.9, 0.1, 0.1, 0.9])
    b = Particles(centers, scores=scores, tomograms=np.array(["one", "one", "two", "two"]))
    found = compare(a, b, radius=10)
    assert found.curve.threshold.tolist() == [0.9, 0.1] and found.curve.precision.tolist() == [1, 0.5]


@pytest.mark.parametrize("suffix", [".star", ".csv"])
def test_a_mask_of_another_shape_is_refused_where_the_picks_tell(tmp_path, suffix):
    from voxpick.cli.agreement import compare_pickings
    from voxpick.io.formats import write_particles
    from voxpick.io.mrc import write_mrc

    picks = Particles(np.array([[50.0, 60, 70], [150, 60, 90]]))
    files = [tmp_path / "a.star", tmp_path / f"b{suffix}"]
    for path in files:
        write_particles(path, picks, voxel_size=10.0, shape=(20, 16, 18))
    for name, shape in (("right", (20, 16, 18)), ("thin", (12, 16, 18))):
        write_mrc(tmp_path / f"{name}.mrc", np.ones(shape, np.int8), voxel_size=10.0)
    found = compare_pickings(*files, tmp_path / "out", radius=10, near=tmp_path / "right.mrc", voxel_size=None)
    assert found["distance_to_mask"] and found["only_picks"] == 0
    with pytest.raises(VoxpickError, match=r"thin.mrc: covers 180 x 160 x 120 A .* 180 x 160 x 200 A; give a mask"):
        compare_pickings(*files, tmp_path / "no", radius=10, near=tmp_path / "thin.mrc", voxel_size=None)
    assert not (tmp_path / "no" / "both.csv").exists()
