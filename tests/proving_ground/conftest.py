"""Databases, set-ups of the site, and where figures are written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.proving_ground.harness import SLOW_MACHINE, Figures, Writer, writing
from tests.proving_ground.report import tables
from tests.support.servers import Server, manage, mariadb_database, postgres_database, serve

FULL = bool(os.environ.get("PROVING_GROUND_FULL"))
"""Whether everything is tried at its full size."""
INTERVAL = 5.0 if FULL else 1.0
"""DENYLIST_INTERVAL in seconds; in full the default."""
WORKERS = 4 if FULL else 2
WRITERS = 24 if FULL else 8
"""Transactions that are open at the same time."""
DATABASES = {"PostgreSQL": postgres_database, "MariaDB": mariadb_database}

Record = Callable[..., None]
RecordLoss = Callable[..., None]


@pytest.fixture(scope="session", params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """The name of the database server in use."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def url(database: str) -> Iterator[str]:
    """A database with all tables."""
    with DATABASES[database]() as url:
        manage(url, "migrate", "--verbosity", "0")
        yield url


class Site:
    """The example project on one database: servers and a writer, all with the same settings."""

    def __init__(self, url: str, folder: Path, **changes: Any) -> None:
        durations = {"DENYLIST_INTERVAL": INTERVAL, **changes.pop("durations", {})}
        self.url = url
        self.interval = durations["DENYLIST_INTERVAL"]
        self._folder = folder
        self._variables = {
            "DJANGO_SETTINGS_MODULE": "tests.proving_ground.settings",
            "PROVING_GROUND": json.dumps({"durations": durations, **changes}),
        }

    @contextmanager
    def serve(self, name: str = "site", workers: int = WORKERS, **how: Any) -> Iterator[Server]:
        """Run a server of it."""
        folder = self._folder / name
        folder.mkdir()
        application = "tests.proving_ground.wsgi"
        with serve(self.url, folder, workers, application=application, **self._variables, **how) as server:
            yield server

    @contextmanager
    def write(self, threads: int = WRITERS, **variables: str) -> Iterator[Writer]:
        """Run a writer beside it."""
        with writing(self.url, threads, **self._variables, **variables) as writer:
            yield writer


@pytest.fixture
def site(url: str, tmp_path: Path) -> Callable[..., Site]:
    """Return a function that makes a site with these changes to its settings."""

    def make(options: str = "", **changes: Any) -> Site:
        return Site(url + options, tmp_path, **changes)

    return make


@pytest.fixture
def record(request: pytest.FixtureRequest, database: str) -> Record:
    """Return a function that writes the figures of a scenario down, and asserts that the promise was kept."""

    def write_down(scenario: str, figures: Figures, promise: float = INTERVAL) -> None:
        line = {"scenario": scenario, "database": database, "promise": promise, **vars(figures)}
        request.config.stash.setdefault(LINES, []).append(line)
        figures.check()

    return write_down


@pytest.fixture
def record_loss(request: pytest.FixtureRequest, database: str) -> RecordLoss:
    """Return a function that writes down what became of requests while a database was lost."""

    def write_down(
        what: str, longest: float, promise: float, sent_away: float | None = None, again: float | None = None
    ) -> None:
        line = {"loss": what, "database": database, "longest": longest, "promise": promise}
        request.config.stash.setdefault(LINES, []).append(line | {"sent_away": sent_away, "again": again})
        assert longest < promise + SLOW_MACHINE

    return write_down


LINES = pytest.StashKey[list[dict[str, Any]]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(LINES, [])
    if path := os.environ.get("PROVING_GROUND_FIGURES"):
        Path(path).write_text(json.dumps(lines))
    if lines:
        terminalreporter.section("the proving ground")
        terminalreporter.write_line(tables(lines))
