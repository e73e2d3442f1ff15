"""What the end-to-end tests run on: databases of their own, and the example project behind gunicorn."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, unquote, urlencode, urlsplit

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"
POSTGRES_URL = os.environ.get("POSTGRES_URL") or "postgres://root@127.0.0.1:5432/test"
MARIADB_URL = os.environ.get("MARIADB_URL") or "mysql://root@127.0.0.1:3306/test"
REPEATABLE_READ = {
    # In transactions by Django's option, outside of them by the server's.
    "PostgreSQL": "?isolation_level=3&options=" + quote(r"-c default_transaction_isolation=repeatable\ read"),
    # Django asks for READ COMMITTED where nothing else is said.
    "MariaDB": "?isolation_level=repeatable+read",
}
"""What to add to the URL of a database."""
HOST = "127.0.0.1"
SECRET_KEY = "a fixed key of the servers under test, longer than fifty characters"
NOT_OURS = {
    "CONN_MAX_AGE",
    "DJANGO_SETTINGS_MODULE",
    "FALLBACKS",
    "FORWARDED_PROTO",
    "JWTAUTH",
    "JWT_ACCESS_SECONDS",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "JWT_JWKS_URL",
    "JWT_PRIVATE_KEY",
    "JWT_SCOPE",
    "NUM_PROXIES",
    "PYTHONPATH",
    "REDIS_URL",
}
"""Variables that would change what the example does."""


# --- Databases


def missing(message: str) -> NoReturn:
    """Skip the test; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def require(name: str, url: str, port: int, variable: str) -> None:
    """Go on only where the server of this URL answers, by default on this port."""
    parts = urlsplit(url)
    address = parts.hostname or HOST, parts.port or port
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        missing(f"no {name} answers on {address[0]}:{address[1]}; {variable} names another one")


def new_name() -> str:
    """Return a name for a database."""
    return f"jwtauth_{secrets.token_hex(6)}"


def connect(url: str) -> Any:
    """Open a connection to the PostgreSQL or MariaDB of a URL, each of its statements a transaction."""
    parts = urlsplit(url)
    if parts.scheme.startswith("postgres"):
        return psycopg.connect(parts._replace(query="").geturl(), autocommit=True, connect_timeout=5)
    try:
        import MySQLdb
    except ImportError:
        missing("mysqlclient, the driver for MariaDB, is not installed: pip install mysqlclient")
    return MySQLdb.connect(
        host=parts.hostname or HOST,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.removeprefix("/"),
        connect_timeout=5,
        autocommit=True,
    )


def execute(url: str, statement: str) -> None:
    """Execute one statement in the database of a URL."""
    with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(statement)


def query(url: str, statement: str) -> Sequence[tuple[Any, ...]]:
    """Return the rows that a statement reads from the database of a URL."""
    with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows


@contextmanager
def postgres_database(server: str = POSTGRES_URL) -> Iterator[str]:
    """Create an empty PostgreSQL database, yield its URL, drop it."""
    require("PostgreSQL", server, 5432, "POSTGRES_URL")
    name = new_name()
    execute(server, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def mariadb_database(server: str = MARIADB_URL) -> Iterator[str]:
    """Create an empty MariaDB database, yield its URL, drop it."""
    require("MariaDB", server, 3306, "MARIADB_URL")
    name = new_name()
    # The database that the URL names need not exist.
    server = urlsplit(server)._replace(path="").geturl()
    execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        execute(server, f"DROP DATABASE {name}")


def sqlite_database(folder: Path) -> str:
    """Return the URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{folder}/db.sqlite3"


# --- The example project


def environment(database_url: str, **variables: str) -> dict[str, str]:
    """Return the environment of a deployed example, on plain HTTP."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    own = {"SECRET_KEY": SECRET_KEY, "DEBUG": "0", "INSECURE_HTTP": "1", "ALLOWED_HOSTS": HOST}
    return inherited | own | {"DATABASE_URL": database_url, **variables}


def manage(database_url: str, *arguments: str, timeout: float = 60) -> str:
    """Run a management command of the example and return what it printed."""
    command = [sys.executable, str(EXAMPLE / "manage.py"), *arguments]
    run = subprocess.run(command, env=environment(database_url), capture_output=True, text=True, timeout=timeout)
    assert run.returncode == 0, f"manage.py {arguments[0]} failed:\n{run.stdout}{run.stderr}"
    return run.stdout


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def worker(self) -> int:
        """The process that answered."""
        return int(self.headers["X-Worker-Pid"])

    @property
    def server(self) -> int:
        """The server whose worker that is."""
        return int(self.headers["X-Server-Pid"])


class Connection:
    """One HTTP connection that is kept open: all its requests are answered by the same worker."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        data: dict[str, Any] | None = None,
        form: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send ``data`` as JSON or ``form`` as a browser does, and return the answer."""
        sent = {"Accept": "*/*", **(headers or {})}
        body = None
        if data is not None:
            body, sent["Content-Type"] = json.dumps(data), "application/json"
        elif form is not None:
            body, sent["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Server:
    """gunicorn with the example project."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, keeps_connections: bool = True) -> None:
        self.process = process
        self.port = port
        self.keeps_connections = keeps_connections
        self._log = log

    @property
    def log(self) -> str:
        """All that the server has written."""
        return self._log.read_text(errors="replace")

    def wait(self, timeout: float = 60) -> None:
        """Wait until it answers, be it that there is no such page."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"gunicorn ended with {self.process.returncode}:\n{self.log}"
            connection = Connection(self.port)
            try:
                # Another one may listen on the same socket.
                if connection.request("GET", "/.well-known/jwks.json").server == self.process.pid:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        pytest.fail(f"gunicorn did not answer within {timeout:.0f} s:\n{self.log}")

    @contextmanager
    def connection_to_each_worker(self, count: int, timeout: float = 30) -> Iterator[dict[int, Connection]]:
        """Yield an open connection to every worker, by its process id."""
        connections: dict[int, Connection] = {}
        spare: list[Connection] = []
        deadline = time.monotonic() + timeout
        try:
            while len(connections) < count:
                assert time.monotonic() < deadline, f"only {len(connections)} of {count} workers answered:\n{self.log}"
                connection = Connection(self.port)
                worker = connection.request("GET", "/.well-known/jwks.json").worker
                if connections.setdefault(worker, connection) is not connection:
                    spare.append(connection)
            yield connections
        finally:
            for connection in (*connections.values(), *spare):
                connection.close()

    def stop(self) -> None:
        """End it, politely first."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)


def start(
    listener: socket.socket,
    options: str,
    database_url: str,
    folder: Path,
    application: str = "tests.support.worker_wsgi",
    **variables: str,
) -> Server:
    """Start the example under gunicorn on a socket, which stays open here. It keeps its files in that folder."""
    log = folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", *options.split(), "--pythonpath", str(EXAMPLE), application]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--bind", f"fd://{listener.fileno()}"],
            cwd=ROOT,
            # It keeps a socket of its own in that folder.
            env=environment(database_url, XDG_RUNTIME_DIR=str(folder), **variables),
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    return Server(process, listener.getsockname()[1], log, keeps_connections="gthread" in options)


@contextmanager
def serve(
    database_url: str,
    folder: Path,
    workers: int,
    worker_class: str = "gthread",
    preload: bool = False,
    application: str = "tests.support.worker_wsgi",
    access_log: bool = False,
    port: int = 0,
    **variables: str,
) -> Iterator[Server]:
    """Run the example under gunicorn on a port of this machine, a free one unless one is named.

    Workers of the class ``gthread`` keep connections open, those of the class ``sync`` do not. Failures inside tell
    what it wrote.
    """
    options = f"--workers {workers} --worker-class {worker_class} --graceful-timeout 1"
    if worker_class == "gthread":
        options += " --threads 4 --keep-alive 60"
    if preload:
        options += " --preload"
    if access_log:
        options += " --access-logfile -"
    with socket.create_server((HOST, port)) as listener:
        server = start(listener, options, database_url, folder, application, **variables)
    try:
        server.wait()
        yield server
    except BaseException as error:
        error.add_note(f"The server wrote:\n{server.log[-5000:]}")
        raise
    finally:
        server.stop()
