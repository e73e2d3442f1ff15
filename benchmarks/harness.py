"""Processes, databases, turns and the arithmetic of the figures."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).resolve().parent.parent
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    "timeout": 20,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 15
    batch: float = 0.03
    """Seconds that a batch takes."""
    users: int = 1000
    sizes: Sequence[int] = (1_000, 10_000, 100_000)


class Figure(NamedTuple):
    """A number and how far it spreads: half the interquartile range over the median."""

    value: float
    spread: float = 0.0
    note: str = ""

    @classmethod
    def of(cls, values: Sequence[float], note: str = "") -> Self:
        """Return the median."""
        median = statistics.median(values)
        low, _, high = statistics.quantiles([*values, median], n=4, method="inclusive")
        return cls(median, (high - low) / 2 / median if median else 0.0, note)


@dataclass
class Group:
    """Works timed in turns. Ratios are formed inside a round; the first work is what the others are compared with."""

    title: str
    seconds: dict[str, list[float]]
    """Seconds a call, one number a round."""
    queries: dict[str, float] = field(default_factory=dict)

    def ratio(self, work: str, to: str) -> Figure:
        """Return how many times as long a work takes as another one."""
        return Figure.of([a / b for a, b in zip(self.seconds[work], self.seconds[to], strict=True)])


class Worker:
    """The process of one product, called like a function."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            env={**os.environ, "BENCHMARK": json.dumps(config)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Run one of the functions of ``commands``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the worker has no pipes")
        print(json.dumps({"command": command, **arguments}), file=stdin, flush=True)
        answer = json.loads(stdout.readline() or '{"error": "The worker ended."}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def another(self) -> "Worker":
        """Start another process on the same database."""
        return Worker(self._config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()


class Lab:
    """Where workers and their databases live: SQLite files in a temporary directory, or databases of a server."""

    def __init__(self, plan: Plan, dsn: str = "") -> None:
        self.plan, self.dsn = plan, dsn
        self.vendor = "postgresql" if dsn else "sqlite"
        self._stack = ExitStack()
        self._directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark"))
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def database(self) -> dict[str, Any]:
        """Make an empty database; return its entry in ``DATABASES``."""
        self._made += 1
        if not self.dsn:
            name = f"{self._directory}/{self._made}.sqlite3"
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": SQLITE_OPTIONS}
        name = f"benchmark_{os.getpid()}_{self._made}"
        self.execute(f'CREATE DATABASE "{name}"')
        self._stack.callback(self.execute, f'DROP DATABASE "{name}" WITH (FORCE)')
        url = urlsplit(self.dsn)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": url.hostname or "",
            "PORT": url.port or "",
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
        }

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the server, outside of the databases made here; return its rows."""
        import psycopg

        with psycopg.connect(self.dsn, autocommit=True) as server:
            cursor = server.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def worker(self, stack: ExitStack, product: str, algorithm: str = "HS256", **config: Any) -> Worker:
        """Start a product with a database and users of its own."""
        config |= {"product": product, "algorithm": algorithm, "private_key": KEYS[algorithm]}
        worker = stack.enter_context(Worker(config | {"database": self.database()}))
        worker("setup", users=self.plan.users)
        return worker

    def time(self, title: str, works: Mapping[str, tuple[Worker, str, dict[str, Any]]]) -> Group:
        """Prepare works, then time them in turns."""
        group = Group(title, {})
        batches = {}
        for name, (worker, work, options) in works.items():
            key = f"{title} {name}"
            group.queries[name] = worker("prepare", key=key, work=work, seconds=self.plan.batch, **options)
            batches[name] = partial(worker, "batch", key=key)
        group.seconds = self.take_turns(batches)
        return group

    def take_turns(self, batches: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Run the batches A B C A B C …; the first round is dropped."""
        rounds = [{name: batch() for name, batch in batches.items()} for _ in range(self.plan.rounds + 1)]
        return {name: [taken[name] for taken in rounds[1:]] for name in batches}


def _private_keys() -> dict[str, str]:
    keys: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    pems = {
        algorithm: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for algorithm, key in keys.items()
    }
    return {"HS256": "", **pems}


KEYS = _private_keys()
"""A new private key for each algorithm, HS256 first, which uses the secret key."""
