"""What all pages have: head, title, style and footer, around a body; and the pieces that bodies are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

FOOTER = "Made by voxpick."


def page(
    title: str, subtitle: str, body: str, *, styles: Sequence[str] = (), footer: str = FOOTER, script: str = ""
) -> str:
    """A whole page as HTML text. title, subtitle, footer: plain text; body, script: HTML; styles: more style sheets of
    the assets, by file name."""
    return fill(
        asset("frame.html"),
        {
            "TITLE": escape(title),
            "SUBTITLE": escape(subtitle),
            "STYLE": "".join(asset(name) for name in ("style.css", *styles)),
            "BODY": body,
            "FOOTER": escape(footer),
            "SCRIPT": script,
        },
    )


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with parts[NAME] in place of every @NAME@."""
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], template)


def asset(name: str) -> str:
    """A file of the folder assets/."""
    return (files("voxpick.report") / "assets" / name).read_text(encoding="utf-8")


def card(title: str, content: str, hint: str = "", *, wide: bool = False) -> str:
    """A framed part of a page. title, hint: plain text; wide: over all columns of a grid of charts."""
    note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f'<section class="card{" wide" if wide else ""}"><h2>{escape(title)}</h2>{note}{content}</section>'


def number_tiles(values: Mapping[str, str]) -> str:
    """The numbers to see first, by label."""
    shown = "".join(
        f'<div class="tile"><b>{escape(text)}</b><span>{escape(label)}</span></div>' for label, text in values.items()
    )
    return f'<div class="tiles">{shown}</div>'
