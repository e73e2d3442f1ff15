"""
Every fenced block of README.md and docs/ is tried by its language.

- ``python``: the blocks of a page are executed in their order in one namespace, which begins with what ``names`` gives.
  What they call is looked up in all their functions, whether these run or not. Settings of a project are there before
  each block: it must keep them, and what it makes of ``JWTAUTH``, ``REST_FRAMEWORK`` and ``CACHES`` must pass the
  system checks.
- ``sh`` and ``console``: each ``manage.py`` command exists and takes the options.

A comment directly before a block can say that it is executed only where a package is installed, as in
``<!-- needs celery -->``, or that it is a file of the tutorial, ``<!-- write config/urls.py -->``, which is executed by
``tests.docs.tutorial``. Otherwise such a block is compiled, and what it does is not tried.
"""

from __future__ import annotations

import builtins
import re
import shlex
import symtable
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import get_commands, load_command_class
from django.dispatch import Signal
from django.test import RequestFactory
from django.test.utils import isolate_apps

from django_jwtauth import sessions, signals
from django_jwtauth.jose.keys import generate_private_key
from tests.docs.readme import NAMES, Block, blocks, project

BLOCKS = {name: blocks(page) for name, page in NAMES.items()}
PYTHON = {name: [block for block in found if block.language in {"python", "py"}] for name, found in BLOCKS.items()}
SHELL = [block for found in BLOCKS.values() for block in found if block.language in {"sh", "console", "bash", "shell"}]
CHECKED = {"JWTAUTH", "REST_FRAMEWORK", "CACHES"}
"""Settings that can be changed while the tests run."""
BEGUN = {"quickstart-settings": {"JWTAUTH"}}
"""Settings that a block begins, so that they are not there before."""


@pytest.fixture
def names(user: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Give what a snippet may take for granted, and forget the receivers and the models that it makes."""
    for variable, algorithm in {"JWT_PRIVATE_KEY": "ES256", "JWT_KEY_2026": "ES256", "JWT_KEY_2027": "EdDSA"}.items():
        monkeypatch.setenv(variable, generate_private_key(algorithm))
    connected = [signal for signal in vars(signals).values() if isinstance(signal, Signal)]
    for signal in connected:
        monkeypatch.setattr(signal, "receivers", list(signal.receivers))
    with isolate_apps("tests.support.people"):
        yield {
            "__name__": "tests.support.people.snippet",
            "urlpatterns": [],
            "user": user,
            "request": RequestFactory().get("/"),
            "pair": sessions.start(user),
        }
    for signal in connected:
        signal.sender_receivers_cache.clear()


def is_executed(block: Block) -> bool:
    task, _, what = block.comment.partition(" ")
    return not (task in {"write", "append"} or (task == "needs" and find_spec(what) is None))


@pytest.mark.parametrize("page", [page for page, found in PYTHON.items() if found])
def test_the_python_of_a_page_runs_and_its_settings_pass_the_checks(
    page: str, names: dict[str, Any], settings: Any, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(generate_private_key("ES256"))
    key.chmod(0o600)
    for block in PYTHON[page]:
        # So that a failure names the line of the page.
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, str(block.page), "exec")
        if not is_executed(block):
            continue
        names |= project()
        exec(code, names)  # noqa: S102
        assert global_names(source) <= names.keys() | vars(builtins).keys(), f"{page}:{block.line}"
        if block.comment.startswith("new-"):
            continue  # Such a block alone is no project; others start Django with it.
        assert lost(project(), names) - BEGUN.get(block.comment, set()) == set(), f"{page}:{block.line}"
        written = [name for name in CHECKED if names[name] != project()[name]]
        for name in written:
            setattr(settings, name, with_file(names[name], key))
        if written:
            found = [message for message in run_checks() if str(message.id).startswith("jwtauth.")]
            assert found == [], f"{page}:{block.line}"


def lost(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the settings of which a key or an item is gone. The value of a key may be another one."""
    return {name for name, value in before.items() if not is_kept(value, after[name])}


def is_kept(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return before.keys() <= after.keys() and not lost(before, after)
    return not isinstance(before, list) or set(before) <= set(after)


def with_file(setting: Any, file: Path) -> Any:
    """Return a copy of a setting in which each path is that of a file which is there."""
    if isinstance(setting, dict):
        return {name: with_file(value, file) for name, value in setting.items()}
    if isinstance(setting, list):
        return [with_file(item, file) for item in setting]
    return file if isinstance(setting, Path) else setting


def global_names(source: str) -> set[str]:
    """Return what the functions of a source look up outside of themselves."""
    tables = symtable.symtable(source, "snippet", "exec").get_children()
    found: set[str] = set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        found |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return found


def test_a_name_that_a_function_lacks_is_noticed() -> None:
    assert global_names("import os\ndef f(x):\n    return lambda: (os, x, missing)") == {"os", "missing"}


def command_lines(block: Block) -> list[list[str]]:
    """Return the words of each ``manage.py`` command: its name, then its arguments."""
    text = block.text.replace("\\\n", " ")
    found = re.findall(r"manage\.py ([a-z][^\n|<>;]*)", text)
    return [shlex.split(line.partition(" && ")[0], comments=True) for line in found]


def test_every_command_exists_and_takes_its_options() -> None:
    for block in SHELL:
        for name, *arguments in command_lines(block):
            command = load_command_class(get_commands()[name], name)
            # Raises where the command would end with a usage message.
            command.create_parser("manage.py", name).parse_args(arguments)


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS["README.md"]) > 5
    assert {line[0] for block in SHELL for line in command_lines(block)} >= {
        "migrate",
        "jwtauth_revoke",
        "jwtauth_inspect",
    }
