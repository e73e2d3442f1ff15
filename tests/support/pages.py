"""Writing into pages of the documentation: tables, between marks that the page has for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Line = TypeVar("Line")


def table(columns: Sequence[tuple[str, Callable[[Line], str]]], lines: Sequence[Line]) -> str:
    """Return a table in Markdown."""
    rows = [[title for title, _ in columns], ["---"] * len(columns)]
    rows += [[cell(line) for _, cell in columns] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_into(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what a page says between two marks."""
    page.write_text(with_text(page, begin, end, text))


def with_text(page: Path, begin: str, end: str, text: str) -> str:
    """Return what a page says, with this text between two marks."""
    before, _, rest = page.read_text().partition(f"{begin}\n")
    _, found, after = rest.partition(f"{end}\n")
    if not found:
        raise SystemExit(f"{page} has no {begin} before a {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}\n{after}"
