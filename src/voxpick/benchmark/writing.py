"""Tables as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from voxpick.benchmark.machine import commit_in_words
from voxpick.benchmark.tables import Cell, Row, Table


def tables_to_dict(tables: Sequence[Table]) -> dict[str, Any]:
    """Plain lists, dicts, numbers and strings by table key, ready for JSON.

    Every row says whether it was published, and where; like: the name its method has there; naming_alone: only where it
    is of naming and not of finding. A cell is {mean, spread, n}
    of our values, {mean} of a copied number, {text} of a copied text, null for none. shown: as people read them.
    """
    return {
        table.key: {
            "title": table.title,
            "note": table.note,
            "columns": table.columns,
            "rows": [row_to_dict(row, table) for row in table.rows],
        }
        for table in tables
    }


def row_to_dict(row: Row, table: Table) -> dict[str, Any]:
    """A row of `tables_to_dict`; table: knows the columns, their digits and units."""
    return {
        "name": row.name,
        "published": bool(row.source),
        "source": row.source or None,
        "like": row.like,
        "cells": [_plain(cell, copied=bool(row.source)) for cell in row.cells],
        "shown": [
            show(cell, digits=table.digits.get(column, 3), unit=table.units.get(column, ""))
            for cell, column in zip(row.cells, table.columns, strict=True)
        ],
        **({"naming_alone": True} if row.naming_alone else {}),
    }


def remarks_on(content: Mapping[str, Any]) -> list[str]:
    """On tables.json: a sentence for each result that failed, one for all of other settings or code."""
    remarks = [f"Failed: {item['title']}, seed {item['seed']}: {item['error']}" for item in content.get("failed", ())]
    if other := [f"{item['title']}, seed {item['seed']}" for item in content.get("outdated", ())]:
        remarks.append(f"Made under other settings or data: {'; '.join(other)}")
    if other := [
        f"{item['title']}, seed {item['seed']}"
        + (f", commit {commit_in_words(item['commit'])}" if item["commit"] else "")
        for item in content.get("other_code", ())
    ]:
        remarks.append(f"Made by other code: {'; '.join(other)}")
    return remarks


def tables_to_markdown(
    title: str, tables: Mapping[str, Any], remarks: Sequence[str] = (), confusion: Mapping[str, Any] | None = None
) -> str:
    """The dictionary of `tables_to_dict` as Markdown, with the labels and counts of confusion matrices, by entry.

    A row that is not published may name its source: another run. under: lines of a table right under its head.
    """
    blocks = [f"# {title}", *remarks]
    for table in tables.values():
        head = ["", *table["columns"], "source"]
        lines = [_line(head), _line(["---", *["---:"] * len(table["columns"]), "---"])]
        lines += [_line([name, *texts, ""]) for name, texts in table.get("under", {}).items()]
        lines += [_line([row["name"], *row["shown"], _source(row)]) for row in table["rows"]]
        blocks += [f"## {table['title']}", table["note"], "\n".join(lines)]
    if confusion:
        note = (
            "Particles of each class (rows) by the class that they were given (columns), summed over test tomograms "
            "and seeds. SHREC'20, Fig. 12."
        )
        blocks += ["## Confusion matrices", note]
        for name, part in confusion.items():
            blocks.append(f"<details><summary>{escape(name)}</summary>\n\n{_matrix(**part)}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts of true class against claimed class; labels[0] is "0": as a claim missed, as a truth background."""
    order = [*range(1, len(labels)), 0]
    lines = [_line(["true", *(labels[k] if k else "missed" for k in order)]), _line(["---", *["---:"] * len(order)])]
    lines += [
        _line([labels[row] if row else "background", *(str(counts[row][k] or "") for k in order)])
        for row in order
        if row or any(counts[0])
    ]
    return "\n".join(lines)


def _source(row: dict[str, Any]) -> str:
    return f"{row['source']} (published)" if row["published"] else row["source"] or "this run"


def show(cell: Cell, *, digits: int = 3, unit: str = "") -> str:
    """A cell as people read it: mean and, for several values, plus-minus their standard deviation; - for none."""
    if cell.text is not None:
        return cell.text
    if cell.mean is None:
        return "-"
    places = max(digits, 1) if cell.n > 1 else digits  # the mean of whole numbers need not be whole
    write = {"s": duration, "bytes": memory}.get(unit, lambda value: f"{value:.{places}f}")
    if cell.spread is None:
        return write(cell.mean)
    return f"{write(cell.mean)} ± {write(cell.spread)}"


def duration(seconds: float) -> str:
    """Seconds in h, m and s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} m"
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"


def memory(count: float) -> str:
    """Bytes in MB or GB (powers of 1000)."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _plain(cell: Cell, *, copied: bool) -> dict[str, Any] | None:
    if cell.text is None and cell.mean is None:
        return None
    values = asdict(cell)
    if cell.text is not None:
        return {"text": cell.text}
    return {"mean": cell.mean} if copied else {key: values[key] for key in ("mean", "spread", "n")}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
