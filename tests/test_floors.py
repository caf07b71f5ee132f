"""Imports go down only, and wings on one floor do not import each other (docs/architecture.md)."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "voxpick"
WINGS = {"io", "simulate", "train", "detect", "match", "average", "evaluate"}
GROUND = {
    "volume",
    "particles",
    "geometry",
    "allocation",
    "precision",
    "errors",
    "shrec_classes",
    "f_beta",
    "progress",
    "default_method",
    "data",
    "__init__",
}
SECOND = {"networks", "losses", "ctf", "wedge"}
TOP = {"cli", "report", "__main__"}


def floor(room: str) -> float:
    if room in GROUND:
        return 1
    if room in SECOND:
        return 2
    if room in WINGS:
        return 3
    if room in ("methods", "api"):
        return 3.5
    if room == "benchmark":
        return 3.75
    assert room in TOP, f"{room} stands on no floor; add it to this test and to docs/architecture.md"
    return 4


@cache
def nodes() -> list[tuple[Path, list[ast.AST]]]:
    """Every module of the package, and all that its source says."""
    return [(path, list(ast.walk(ast.parse(path.read_text())))) for path in sorted(PACKAGE.rglob("*.py"))]


@cache
def imports() -> list[tuple[str, str, str]]:
    """(file, room of the file, room it imports) for every import of voxpick in the package."""
    found = []
    for path, inside in nodes():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for node in inside:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "voxpick":
                names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [a.name.split(".")[1] for a in node.names if a.name.startswith("voxpick.")]
            else:
                continue
            found += [("/".join(parts), parts[0], name if name != "__version__" else "__init__") for name in names]
    return found


def test_imports_go_down():
    edges = imports()
    assert len(edges) > 50
    upward = [(file, target) for file, room, target in edges if floor(target) > floor(room)]
    assert not upward


def test_wings_do_not_import_each_other():
    crossing = [
        (file, target) for file, room, target in imports() if room in WINGS and target in WINGS and room != target
    ]
    assert not crossing


def test_only_io_and_the_top_floor_touch_paths():
    """pathlib and open() appear in io/, benchmark/ (which runs commands in folders) and cli/ alone."""
    touching = []
    for path, inside in nodes():
        room = path.relative_to(PACKAGE).parts[0]
        if room in ("io", "cli", "benchmark") or "native" in path.parts:  # native: the cache of compiled kernels
            continue
        for node in inside:
            opens = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
            paths = isinstance(node, ast.ImportFrom) and node.module == "pathlib"
            if opens or paths:
                touching.append(str(path.relative_to(PACKAGE)))
    assert not touching


def test_only_cli_imports_the_benchmark():
    assert {room for _, room, target in imports() if target == "benchmark"} <= {"benchmark", "cli"}


def test_no_two_test_modules_have_the_same_name() -> None:
    """pytest imports test modules by their name alone, so a second one stops the collection of the whole suite."""
    seen: dict[str, Path] = {}
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.name != "conftest.py":
            assert path.name not in seen, f"{path} and {seen[path.name]} have one name; rename one"
            seen[path.name] = path
