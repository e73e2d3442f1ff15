"""The conformance page has every statement, as written at its test, and names tests that exist."""

from __future__ import annotations

import ast
from functools import cache

from tests.conformance.registry import BEGIN, END, PAGE, ROOT, STATEMENTS, tables
from tests.support.pages import with_text

tables()  # imports every part, and so fills STATEMENTS


@cache
def nodes_of(path: str) -> set[str]:
    """The tests, and classes of tests, that a file has."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found.update(f"{node.name}::{inner.name}" for inner in ast.iter_child_nodes(node) if hasattr(inner, "name"))
    return {name for name in found if name.rpartition("::")[2].startswith(("test_", "Test"))}


def test_the_page_is_up_to_date() -> None:
    written = with_text(PAGE, BEGIN, END, tables())
    assert PAGE.read_text() == written, f"run: python -m tests.conformance {PAGE.relative_to(ROOT)}"


def test_the_statements_are_numbered_without_a_gap() -> None:
    assert sorted(STATEMENTS) == list(range(1, 94))


def test_every_test_that_is_named_exists() -> None:
    for statement in STATEMENTS.values():
        assert statement.nodes
        for node in statement.nodes:
            path, _, name = node.partition("::")
            assert name in nodes_of(path), node
