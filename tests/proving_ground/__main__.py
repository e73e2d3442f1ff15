"""``python -m tests.proving_ground`` runs all scenarios, small on both databases at once, or in full one by one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.proving_ground.report import BEGIN, END, circumstances, tables
from tests.support.pages import write_into
from tests.support.servers import ROOT

DATABASES = ("PostgreSQL", "MariaDB")


def pytest(database: str, folder: Path, full: bool, only: str) -> subprocess.Popen[bytes]:
    """Begin to run the scenarios of a database."""
    own = {"PROVING_GROUND_FIGURES": str(folder / database), "PROVING_GROUND_FULL": "1" if full else ""}
    chosen = f"{database} and ({only})" if only else database
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/proving_ground", "-k", chosen]
    output = None if full else (folder / f"{database}.log").open("wb")
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own}, stdout=output)


def run(folder: Path, full: bool, only: str) -> tuple[bool, list[dict[str, Any]]]:
    """Run everything; return whether it passed, and the figures."""
    running = {}
    for database in DATABASES:
        running[database] = pytest(database, folder, full, only)
        if full:
            running[database].wait()
    statuses = [process.wait() for process in running.values()]
    for log in sorted(folder.glob("*.log")):
        sys.stdout.write(log.read_text())
    lines = [line for name in DATABASES if (folder / name).exists() for line in json.loads((folder / name).read_text())]
    return not any(statuses), lines


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.proving_ground", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the full size, which takes about an hour")
    parser.add_argument("--report", type=Path, help="write the figures into this page")
    parser.add_argument("-k", dest="only", default="", help="only scenarios that this expression of pytest's means")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        passed, lines = run(Path(folder), given.full, given.only)
    if given.report:
        write_into(given.report, BEGIN, END, f"{circumstances()}\n\n{tables(lines)}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
