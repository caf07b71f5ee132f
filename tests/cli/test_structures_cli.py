"""voxpick structures build and list, run as a user runs them."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from voxpick.cli import structures
from voxpick.errors import VoxpickError
from voxpick.io.structures import read_arrays
from voxpick.simulate.bank import load_bank, unpack_bank
from voxpick.simulate.structures import BeadModel

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _run(*words: object) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    structures.register(app)
    result = CliRunner().invoke(app, ["structures", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.output


def _blob(folder: Path) -> Path:
    z, y, x = np.indices((12, 20, 28))
    data = np.exp(-((z - 6) ** 2 + (y - 9) ** 2 + (x - 14) ** 2) / 12).astype(np.float32)
    with mrcfile.new(folder / "Blob.mrc") as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 10.0
    return folder / "Blob.mrc"


def test_build_a_map_append_and_list(tmp_path: Path) -> None:
    blob, bank = _blob(tmp_path), tmp_path / "my.npz"
    output = _run("build", blob, "--mass-kda", 300, "--output", bank)
    assert "blob" in output and "300.0" in output and "In brackets" not in output
    _run("build", blob, bank, "--mass-kda", 200, "--name", "small", "--append")
    models = unpack_bank(read_arrays(bank))
    assert {name: model.molecular_weight_kda for name, model in models.items()} == {"blob": 300, "small": 200}
    assert models["small"].electrons.sum() == pytest.approx(107_000, rel=1e-3)
    assert "small: Blob.mrc, 10 A voxels" in _run("list", bank)
    with pytest.raises(VoxpickError, match="'small' is there already"):
        _run("build", blob, bank, "--mass-kda", 200, "--name", "small", "--append")


def test_structures_that_processes_add_at_once_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two read the bank, and the second wrote it without what the first had added."""
    blob, bank = _blob(tmp_path), tmp_path / "my.npz"
    _run("build", blob, bank, "--mass-kda", 300)
    read = structures.read_bank
    meanwhile = ["build", blob, bank, "--mass-kda", 300, "--name", "two", "--append"]

    def interrupted(path: Path | None) -> dict[str, BeadModel]:
        found = read(path)
        with pytest.raises(VoxpickError, match="another process writes there; wait until it has ended"):
            _run(*meanwhile)
        return found

    monkeypatch.setattr(structures, "PATIENCE_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(structures, "read_bank", interrupted)
        _run("build", blob, bank, "--mass-kda", 300, "--name", "one", "--append")
    _run(*meanwhile)
    assert list(read(bank)) == ["blob", "one", "two"]


def test_with_the_builtin_structures(tmp_path: Path) -> None:
    _run("build", _blob(tmp_path), "--mass-kda", 300, "--with-builtin", "--output", tmp_path / "all.npz")
    assert list(unpack_bank(read_arrays(tmp_path / "all.npz"))) == [*load_bank(), "blob"]


def test_list_shows_the_papers_figures() -> None:
    row = next(line for line in _run("list").splitlines() if line.startswith("1bxn"))
    assert "516.6 (560.0)" in row and "(979)" in row and "(0.776)" in row and "(4.78)" in row
    assert "In brackets: Table 1" in _run("list")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the structure files of ../shared are not here")
def test_recipe_rebuilds_the_builtin_bank(tmp_path: Path) -> None:
    _run("build", "--recipe", "shrec20", SHARED, tmp_path / "bank.npz")
    rebuilt = unpack_bank(read_arrays(tmp_path / "bank.npz"))
    for name, model in load_bank().items():
        np.testing.assert_allclose(rebuilt[name].positions_zyx, model.positions_zyx, atol=0.11)
        np.testing.assert_allclose(rebuilt[name].electrons, model.electrons, rtol=2e-3)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the structure files of ../shared are not here")
def test_atoms_by_assembly_or_all_chains(tmp_path: Path) -> None:
    source = SHARED / "structures" / "3qm1.pdb.gz"
    _run("build", source, "--output", tmp_path / "a.npz")
    _run("build", source, "--all-chains", "--name", "half", "--output", tmp_path / "b.npz")
    whole, half = (next(iter(unpack_bank(read_arrays(tmp_path / name)).values())) for name in ("a.npz", "b.npz"))
    assert whole.molecular_weight_kda == pytest.approx(2 * half.molecular_weight_kda, rel=1e-3)
    assert whole.source == "3qm1.pdb.gz, biological assembly 1" and half.source == "3qm1.pdb.gz, all chains"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), "--mass-kda"),
        (("--mass-kda", 0), "above 0"),
        (("--mass-kda", 5, "--cell-size", 0), "cell size 0"),
        (("--mass-kda", 5, "--voxel-size", 0), "--voxel-size 0: .*above 0"),
        (("--mass-kda", 5, "--name", "two words"), "no space"),
        (("--all-chains", "--assembly", 1), "exclude"),
        (("--recipe", "shrec19"), "unknown recipe"),
        (("--recipe", "shrec20"), "no such folder"),
    ],
)
def test_bad_requests_write_nothing(tmp_path: Path, words: tuple[object, ...], match: str) -> None:
    blob = _blob(tmp_path)
    with pytest.raises(VoxpickError, match=match):
        _run("build", blob, *words, "--output", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoxpickError, match="--output"):
        _run("build", _blob(tmp_path), "--mass-kda", 5)
