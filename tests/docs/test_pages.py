"""README.md and docs/: links lead somewhere, commands and options exist, Python can be imported."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from voxpick.cli import build_app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_ALL = {"--help"}
"""Options that every command has without naming them."""


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@cache
def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    found: dict[str, int] = {}
    result = set()
    for title in re.findall(r"^#+ +(.*)$", without_blocks(page.read_text()), flags=re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        result.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return result


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{page.name}: {target}"
        assert not heading or heading in anchors(place), f"{page.name}: {target}"


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command `voxpick ...` in fenced and indented blocks."""
    fenced = re.findall(r"^```bash\n(.*?)^```", text, flags=re.M | re.S)
    indented = re.findall(r"^    .*$", without_blocks(text), flags=re.M)
    lines = iter("\n".join([*fenced, *indented]).splitlines())
    for line in lines:
        whole = line.strip()
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines).strip()
        for part in whole.split("&&"):
            if part.strip().startswith("voxpick "):
                yield shlex.split(part, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_have_the_options_and_arguments_that_pages_give_them(page: Path) -> None:
    app = get_command(build_app())
    for words in commands(page.read_text()):
        command, rest = app, words
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(words[0], list(rest))


def options_of_all(command: object) -> set[str]:
    found = {name for option in getattr(command, "params", ()) for name in (*option.opts, *option.secondary_opts)}
    return found.union(*(options_of_all(each) for each in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_options_in_prose_are_those_of_some_command(page: Path) -> None:
    known = options_of_all(get_command(build_app())) | OF_ALL
    for code in re.findall(r"`([^`]+)`", without_blocks(page.read_text())):
        if "python " in code or ".py" in code or "pip " in code:
            continue
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code):
            assert option in known, f"{page.name}: {option} in {code!r}"


def snippets(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_in_pages_imports_what_there_is(page: Path) -> None:
    for code in snippets(page.read_text()):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("voxpick"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{page.name}: {node.module} has no {name.name}"
