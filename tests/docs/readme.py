"""
Commands and code of README.md, of the pages beside it and of docs/, run so that they stay true.

A block that something refers to is a fenced one with its name in a comment directly before it:

    <!-- test-command -->
    ```sh
    …
    ```

Settings that a project has already are added to, never replaced. A block whose name begins with `new-` sets what a
project does not have yet.

`python -m tests.docs.readme NAME` prints a block of the README.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
NAMES = {str(page.relative_to(ROOT)): page for page in PAGES}
"""The pages by their paths: every folder has an ``index.md``."""

FENCE = re.compile(
    r"^(?:<!-- (?P<comment>[^\n]*?) -->\n)?(?P<indent> *)```(?P<language>[^\s`]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    """The line of its first line."""
    comment: str
    """What the comment directly before it says."""
    language: str
    text: str


class Step(NamedTuple):
    """A command of a ``console`` block and what is printed below it."""

    command: str
    printed: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")) + 1,
            found["comment"] or "",
            found["language"],
            textwrap.dedent(found["text"]),
        )
        for found in FENCE.finditer(text)
    ]


def block(name: str, page: Path = README) -> str:
    """Return the text of the one block with this name."""
    named = [block.text for block in blocks(page) if block.comment == name]
    if len(named) != 1:
        raise LookupError(f"{page.name} must have one fenced block after <!-- {name} -->, it has {len(named)}.")
    return named[0]


def project() -> dict[str, Any]:
    """Return settings of a project that are there before those of a block are added, each time anew."""
    return {
        "INSTALLED_APPS": ["django.contrib.auth", "rest_framework", "notes"],
        "MIDDLEWARE": ["django.middleware.common.CommonMiddleware"],
        "CACHES": {name: {"BACKEND": "django.core.cache.backends.dummy.DummyCache"} for name in ("default", "pages")},
        "LOGGING": {"handlers": {"console": {}}, "loggers": {"notes": {"level": "DEBUG"}}},
        "REST_FRAMEWORK": {
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
            "DEFAULT_THROTTLE_RATES": {"notes": "60/min"},
        },
        "JWTAUTH": {"ISSUER": "https://notes.example.com", "MAX_SESSIONS_PER_USER": 5},
        "SPECTACULAR_SETTINGS": {"TITLE": "Notes", "POSTPROCESSING_HOOKS": ["notes.schema.hook"]},
    }


def steps(console: str) -> list[Step]:
    """Return each command of a ``console`` block with what is printed below it."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]]
    return [Step(command, printed.rstrip("\n")) for command, _, printed in parts]


def pattern(printed: str) -> str:
    """Return a pattern for an answer: what is shortened, session ids and points in time may differ."""
    free = re.compile(r'…|(?<=")[\w-]{22}(?=")|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:[\d.]+')
    return ".*".join(map(re.escape, free.split(printed)))


if __name__ == "__main__":
    print(block(sys.argv[1]), end="")
