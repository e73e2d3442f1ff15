"""Figures as tables in Markdown."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.pages import table
from tests.support.servers import MARIADB_URL, POSTGRES_URL, query

Line = dict[str, Any]
Column = tuple[str, Callable[[Line], str]]

BEGIN, END = "<!-- figures of the proving ground -->", "<!-- end of the figures -->"

DELAYS: list[Column] = [
    ("scenario", lambda line: line["scenario"]),
    ("database", lambda line: line["database"]),
    ("worst delay", lambda line: f"{line['worst']:.2f} s"),
    ("promised", lambda line: f"{line['promise']:g} s"),
    ("revoked", lambda line: f"{line['revocations']:,}"),
    ("requests", lambda line: f"{line['requests']:,}"),
    ("missed", lambda line: str(line["missed"])),
    ("late", lambda line: str(line["late"])),
    ("revived", lambda line: str(line["revived"])),
    ("refused in error", lambda line: str(line["wrongly_refused"])),
]
LOSSES: list[Column] = [
    ("what it did", lambda line: line["loss"]),
    ("database", lambda line: line["database"]),
    ("longest answer", lambda line: f"{line['longest']:.2f} s"),
    ("promised", lambda line: f"{line['promise']:g} s"),
    ("first 503 after", lambda line: seconds(line["sent_away"])),
    ("last 503 after its return", lambda line: seconds(line["again"])),
]


def seconds(value: float | None) -> str:
    """Return seconds in words, or nothing."""
    return "" if value is None else f"{max(value, 0):.2f} s"


def tables(lines: Sequence[Line]) -> str:
    """Return what there is a line for."""
    delays = [line for line in lines if "scenario" in line]
    losses = [line for line in lines if "loss" in line]
    found = [table(columns, some) for columns, some in ((DELAYS, delays), (LOSSES, losses)) if some]
    return "\n\n".join(found)


def circumstances() -> str:
    """Return a sentence about when, where and with what the figures were taken."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    packages = [f"{name} {version(name)}" for name in ("Django", "gunicorn", "psycopg", "mysqlclient")]
    servers = [f"PostgreSQL {query(POSTGRES_URL, 'SHOW server_version')[0][0]}"]
    servers += [query(urlsplit(MARIADB_URL)._replace(path="").geturl(), "SELECT version()")[0][0]]
    return (
        f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores of {names[0]}, load {os.getloadavg()[2]:.1f}, "
        f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}, Python {platform.python_version()}, "
        f"{', '.join([*packages, *servers])}, commit {commit()}."
    )


def commit() -> str:
    """Return the name of the commit that is checked out."""
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return run.stdout.strip()
