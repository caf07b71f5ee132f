"""What a new format of picks has to have besides its line in FORMATS; tests/io has what its files hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxpick.cli.detect_options import Formats
from voxpick.cli.detect_output import COPICK, SUFFIXES
from voxpick.cli.options import Picks
from voxpick.io.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_detect_and_match_write_every_format_under_the_suffix_it_is_read_by() -> None:
    """The names stand in cli/detect_output.py once more, so that help need not import what reads and writes them."""
    assert {name: known.suffixes[0] for name, known in FORMATS.items()} == {**SUFFIXES, COPICK: ".json"}


@pytest.mark.parametrize("name", FORMATS)
def test_help_and_page_name_it(name: str) -> None:
    assert name in Formats.__metadata__[0].help
    assert FORMATS[name].suffixes[0] in Picks.__metadata__[0].help
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
    assert all(suffix in row for suffix in FORMATS[name].suffixes)
