"""
What the standards ask and what this app promises beyond them. Each statement is said where it is tested, and
The page `PAGE` has a table of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.support.pages import table

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "project" / "assurance" / "conformance.md"
BEGIN, END = "<!-- statements -->", "<!-- end of the statements -->"
OWN = "our own promise"
"""The source of a statement about which the standards are silent."""
PUBLISHED = "https://www.rfc-editor.org/rfc/rfc{}"
DRAFTS = {"8725bis": "https://datatracker.ietf.org/doc/html/draft-ietf-oauth-rfc8725bis-08"}
"""The revision whose sections are meant, of what has no number yet."""

Test = TypeVar("Test", bound=Callable[..., Any])


class Statement(NamedTuple):
    """One thing that is asked, which sections ask it, and which tests show it."""

    number: int
    text: str
    sources: tuple[str, ...]
    module: str
    nodes: tuple[str, ...]


STATEMENTS: dict[int, Statement] = {}


def states(number: int, text: str, *sources: str, also: tuple[str, ...] = ()) -> Callable[[Test], Test]:
    """Say what a test, or a class of them, shows. ``also`` are nodes elsewhere that show it, with real processes."""

    def note(test: Test) -> Test:
        node = f"{test.__module__.replace('.', '/')}.py::{test.__qualname__}"
        _add(Statement(number, text, sources, test.__module__, (node, *also)))
        return test

    return note


def shown_elsewhere(module: str, number: int, text: str, *sources: str, by: tuple[str, ...]) -> None:
    """Say what nodes elsewhere show, and none here, because they take long."""
    _add(Statement(number, text, sources, module, by))


def _add(statement: Statement) -> None:
    if statement.number in STATEMENTS:
        raise ValueError(f"There are two statements {statement.number}.")
    STATEMENTS[statement.number] = statement


def tables() -> str:
    """Return a table for every part."""
    modules = [import_module(f"{__package__}.{path.stem}") for path in sorted(HERE.glob("test_[a-h]_*.py"))]
    return "\n\n".join(f"## {str(module.__doc__).strip()}\n\n{_table_of(module.__name__)}" for module in modules)


def _table_of(module: str) -> str:
    columns: list[tuple[str, Callable[[Statement], str]]] = [
        ("", lambda statement: str(statement.number)),
        ("statement", lambda statement: statement.text),
        ("asked by", lambda statement: ", ".join(map(_linked_section, statement.sources))),
        ("shown by", lambda statement: "<br>".join(map(_linked_node, statement.nodes))),
    ]
    return table(columns, [STATEMENTS[number] for number in sorted(STATEMENTS) if STATEMENTS[number].module == module])


def _linked_section(source: str) -> str:
    if source == OWN:
        return source
    number, kind, section = re.fullmatch(r"RFC (\w+) (section|appendix) ([A-Z\d.]+)", source).groups()  # type: ignore[union-attr]
    return f"[{source}]({DRAFTS.get(number, PUBLISHED.format(number))}#{kind}-{section})"


def _linked_node(node: str) -> str:
    path, _, name = node.partition("::")
    return f"[`{name}`](../../../{path})"
