import base64
import io
import re

import numpy as np
import torch
from typer.testing import CliRunner

from voxpick.cli import build_app, cam
from voxpick.detect.activation import Activation
from voxpick.detect.slab import Slab
from voxpick.errors import VoxpickError
from voxpick.io.formats import write_particles
from voxpick.io.model import save_models
from voxpick.io.mrc import write_mrc
from voxpick.io.shrec_model import write_model
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.report.activation import Column, accuracy, build_activation_page, choose_examples
from voxpick.report.pictures import png
from voxpick.volume import Volume


def particles(names=("b<1>", "1s3x")):
    return Particles(np.array([[60.0, 60, 60], [60, 140, 200]]), classes=np.array(names, dtype=object))


def column(title="net", index=(2, 2)):
    images = np.zeros((2, 4, 6, 8), np.float32)
    maps = np.arange(2 * 4 * 6 * 8, dtype=np.float32).reshape(2, 4, 6, 8)
    probabilities = np.array([[0.1, 0.2, 0.7], [0.0, 0.3, 0.7]])
    return Column(title, ["background", "1s3x", "b<1>"], Activation(images, maps, np.array(index), probabilities))


def pictures(page: str) -> dict[str, np.ndarray]:
    """Grey images by what they are said to be."""
    from PIL import Image

    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', page)
    return {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}


def test_a_row_shows_input_truth_and_every_map():
    truth = np.zeros((2, 4, 6, 8), np.float32)
    truth[:, :, 2:4, 3:5] = 1.0
    page = build_activation_page(particles(), [column("one"), column("two", (1, 1))], truth, title="A & B")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//)", page) and "@SECTION@" not in page
    assert "A &amp; B" in page and "b&lt;1&gt; 0.70" in page
    images = pictures(page)
    assert len(images) == 8
    expected = np.rint((96 + np.arange(48)) / 191 * 255).reshape(6, 8)
    np.testing.assert_array_equal(images["1s3x, map of two"], expected)
    assert (images["1s3x, truth"] == 255).sum() == 4 and (images["1s3x, truth"] == 0).sum() == 44
    assert (images["1s3x, input"] == 128).all()
    assert page.count('class="right-name"') == 2 and page.count('class="other-name"') == 2


def test_accuracy():
    assert accuracy(column(), ["b<1>", "1s3x"]) == 0.5


def test_names_are_the_same_in_upper_case():
    assert accuracy(column(), ["B<1>", "1S3X"]) == 0.5
    page = build_activation_page(particles(("B<1>", "1S3X")), [column()])
    assert page.count('class="right-name"') == page.count('class="other-name"') == 1


def test_two_models_of_one_method_are_told_apart():
    model, other = small_classifier(), small_classifier()
    other.provenance = {"method": "densenet"}
    assert cam._titles([model, other, model], ["a/one.pt", "b.pt", "two.pt"]) == [
        "dilated-densenet, one", "densenet", "dilated-densenet, two"
    ]  # fmt: skip


def test_png_is_read_as_written():
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 256, (12, 20), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(grey)))), grey)


def test_examples_are_the_most_confident_that_lie_wholly_inside():
    centers = np.array([[6, 10, 14], [6, 10, 13], [6, 1, 14], [6, 9, 14], [1, 1, 1], [6, 10, 12]]) * 10.0
    names = np.array(["4d8q", "4d8q", "4d8q", "1s3x", "zeta", "4d8q"], dtype=object)
    found = choose_examples(
        Particles(centers, names, np.array([0.5, 0.8, 0.9, 0.1, 0.2, 0.8])), shape=(12, 20, 28), voxel_size=10.0,
        size=8, per_class=2,
    )  # fmt: skip
    assert found.tolist() == [3, 1, 5, 4]


def small_classifier():
    torch.manual_seed(0)
    settings = {"classes": 3, "growth": 2, "blocks": 2, "stem": 2}
    return Model.create(
        "densenet", settings, classes=["background", "1s3x", "b"], voxel_size=10.0, detection={"subtomogram": 8},
        provenance={"method": "dilated-densenet"},
    )  # fmt: skip


def test_bright_protein_is_shown_as_dark_one_is(tmp_path, monkeypatch):
    save_models(tmp_path / "m.pt", {"classifier": small_classifier()})
    data = np.random.default_rng(1).standard_normal((12, 20, 28)).astype(np.float32)
    write_particles(tmp_path / "p.csv", particles(("b", "1s3x")))
    shown = {}
    for name, sign, more in (("dark", 1, []), ("bright", -1, ["--invert"]), ("wrong", -1, [])):
        write_mrc(tmp_path / "t.mrc", sign * data, voxel_size=10.0)
        skewed = Slab(0, 12, "", skewed=-9.0 * sign)
        monkeypatch.setattr("voxpick.detect.prepare.choose_slab", lambda *_, found=skewed, **__: found)
        words = ["cam", str(tmp_path / "t.mrc"), str(tmp_path / "p.csv"), "--model", str(tmp_path / "m.pt"), *more]
        done = CliRunner().invoke(build_app(), [*words, "-o", str(tmp_path / "c.html")])
        assert done.exit_code == 0, done.output
        assert ("particles seem to be bright" in done.output) == (name == "wrong")
        shown[name] = pictures((tmp_path / "c.html").read_text())
    for name, image in shown["dark"].items():
        np.testing.assert_array_equal(image, shown["bright"][name])
    assert (shown["wrong"]["b, input"] != shown["dark"]["b, input"]).mean() > 0.5


def test_picks_outside_are_told_and_left_out(tmp_path):
    """They came as empty pictures, and the network's names of nothing counted as right or wrong."""
    save_models(tmp_path / "m.pt", {"classifier": small_classifier()})
    write_mrc(tmp_path / "t.mrc", np.random.default_rng(1).standard_normal((12, 20, 28)), voxel_size=10.0)
    words = ["cam", str(tmp_path / "t.mrc"), str(tmp_path / "p.csv"), "--model", str(tmp_path / "m.pt")]
    found = particles(("b", "1s3x"))
    moved = found.centers_zyx + [[0, 0, 0], [0, 300, 0]]
    write_particles(tmp_path / "p.csv", found.with_columns(centers_zyx=moved))
    done = CliRunner().invoke(build_app(), [*words, "-o", str(tmp_path / "c.html")])
    assert done.exit_code == 0, done.output
    assert "1 of 2 picks lie outside" in done.output and "1 picks, named" in done.output
    assert {name[:2] for name in pictures((tmp_path / "c.html").read_text())} == {"b,"}
    write_particles(tmp_path / "p.csv", found.with_columns(centers_zyx=found.centers_zyx + 300))
    done = CliRunner().invoke(build_app(), [*words, "-o", str(tmp_path / "none.html")])
    assert isinstance(done.exception, VoxpickError) and "all 2 picks lie outside" in str(done.exception)
    assert not (tmp_path / "none.html").exists()


def test_the_command(tmp_path):
    rng = np.random.default_rng(1)
    model = small_classifier()
    save_models(tmp_path / "m.pt", {"classifier": model})
    other = Model.create(
        "msdnet", {"classes": 3, "depth": 2}, classes=model.classes, voxel_size=10.0, detection={"subtomogram": 8}
    )
    save_models(tmp_path / "voxels.pt", {"classifier": other})
    write_mrc(tmp_path / "t.mrc", rng.standard_normal((12, 20, 28)).astype(np.float32), voxel_size=10.0)
    write_particles(tmp_path / "p.csv", particles(("b", "1s3x")))
    run = CliRunner()
    files = [str(tmp_path / name) for name in ("t.mrc", "p.csv")]
    done = run.invoke(build_app(), ["cam", *files, "--model", str(tmp_path / "m.pt"), "-o", str(tmp_path / "c.html")])
    assert done.exit_code == 0, done.output
    assert "2 picks" in done.output
    images = pictures((tmp_path / "c.html").read_text())
    assert list(images) == [
        "1s3x, input", "1s3x, map of dilated-densenet", "b, input", "b, map of dilated-densenet"
    ]  # fmt: skip
    assert all(image.shape == (8, 8) for image in images.values())
    names = ("grandmodel", "class_mask", "occupancy_mask", "class_bbox", "occupancy_bbox")
    write_model(
        tmp_path / "truth", **{name: np.ones((12, 20, 28), np.int8) for name in names},
        projections=np.zeros((1, 20, 28)), reconstruction=rng.standard_normal((12, 20, 28)),
        particles=Particles(np.full((1, 3), 60.0), ["b"], rotations=np.eye(3)[None]), voxel_size=1.0,
    )  # fmt: skip
    unset = [str(tmp_path / "truth" / "reconstruction.mrc"), files[1], "--truth", str(tmp_path / "truth")]
    done = run.invoke(build_app(), ["cam", *unset, "--model", str(tmp_path / "m.pt"), "-o", str(tmp_path / "c.html")])
    assert done.exit_code == 0 and "2 picks" in done.output, (done.output, done.exception)
    refused = run.invoke(build_app(), ["cam", *files, "--model", str(tmp_path / "voxels.pt")])
    assert isinstance(refused.exception, VoxpickError) and "this one is a MSDNet" in str(refused.exception)


def test_the_truth_is_without_the_noise_around_particles(tmp_path):
    rng = np.random.default_rng(3)
    ids = np.zeros((6, 20, 28), np.int8)
    ids[2:4, 8:12, 12:16] = 1
    model = rng.normal(1.0, 0.1, ids.shape).astype(np.float32) + 2 * ids
    write_model(
        tmp_path / "truth", grandmodel=model, class_mask=ids, occupancy_mask=ids, class_bbox=ids, occupancy_bbox=ids,
        projections=np.zeros((1, 20, 28)), reconstruction=rng.standard_normal((12, 20, 28)),
        particles=Particles(np.array([[30.0, 100, 140]]), ["b"], rotations=np.eye(3)[None]), voxel_size=10.0,
    )  # fmt: skip
    tomogram = Volume(np.zeros((12, 20, 28), np.float32), 10.0, "t")
    pick = Particles(np.array([[60.0, 100, 140]]), ["b"])
    (cube,) = cam._truth_cubes(cam._density(tmp_path / "truth", tomogram), pick, 8, 10.0)
    inside = np.zeros(cube.shape, bool)
    inside[3:5, 2:6, 2:6] = True
    assert (cube[~inside] == 0).all()
    ice = np.median(model)
    np.testing.assert_allclose(cube[inside], model[ids > 0] - ice, atol=1e-5)
