"""Database servers of a test's own, which can be stopped, killed and frozen without harm to anybody."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.servers import HOST, connect, execute, missing


class DatabaseServer(ABC):
    """A server with one empty database."""

    name: str
    database: Sequence[str]
    """Statements that make the database and its owner."""
    stop_signal: signal.Signals
    read_only_on: Sequence[str]
    """Statements that make it refuse to write, as a replica does."""
    read_only_off: Sequence[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server((HOST, 0)) as free:
            self.port: int = free.getsockname()[1]
        self.as_user: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def root(self) -> str:
        """The URL of the server for its administrator."""

    @property
    def url(self) -> str:
        """The URL of the database for its owner, who may do everything in it and nothing else."""
        return urlsplit(self.root)._replace(netloc=f"site@{HOST}:{self.port}", path="/site").geturl()

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What runs the server."""

    @abstractmethod
    def install(self) -> None:
        """Make the files of the server."""

    def start(self) -> float:
        """Start it; return the moment from which on it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder, **self.as_user)
        deadline = time.monotonic() + 30
        while True:
            try:
                connect(self.root).close()
                return time.monotonic()
            except Exception:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator does who is in a hurry."""
        assert self._process
        self._process.send_signal(self.stop_signal)
        self._process.wait(timeout=30)

    def kill(self) -> None:
        """End all its processes at once, where they are."""
        assert self._process
        self._signal(signal.SIGKILL)
        self._process.wait(timeout=30)

    def freeze(self) -> None:
        """Stop all its processes where they are: connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> float:
        """Let them go on; return when."""
        self._signal(signal.SIGCONT)
        return time.monotonic()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let it refuse to write."""
        for statement in self.read_only_on:
            execute(self.root, statement)
        try:
            yield
        finally:
            for statement in self.read_only_off:
                execute(self.root, statement)

    def restore(self) -> None:
        """Let it run again, whatever was done to it."""
        assert self._process
        if self._process.poll() is None:
            self.thaw()
        else:
            self.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        pid = self._process.pid
        # So that it makes no more of them, and still knows them.
        os.kill(pid, signal.SIGSTOP)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)
        os.kill(pid, number)


class PostgreSQL(DatabaseServer):
    """One process that listens, and one more for each connection."""

    name = "PostgreSQL"
    database = ("CREATE USER site", "CREATE DATABASE site OWNER site")
    stop_signal = signal.SIGINT
    read_only_on = ("ALTER DATABASE site SET default_transaction_read_only = on",)
    read_only_off = ("ALTER DATABASE site RESET default_transaction_read_only",)

    @property
    def root(self) -> str:
        return f"postgres://postgres@{HOST}:{self.port}/postgres"

    @property
    def command(self) -> list[str]:
        settings = [f"port={self.port}", f"listen_addresses={HOST}", f"unix_socket_directories={self.folder}"]
        settings += ["fsync=off", "full_page_writes=off", "max_connections=200"]
        return [*binary("postgres"), "-D", str(self.folder / "data"), *(f"-c{setting}" for setting in settings)]

    def install(self) -> None:
        if os.geteuid() == 0:
            # It refuses to be run by root.
            self.as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.folder, "postgres", "postgres")
        arguments = ["-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        command = [*binary("initdb"), *arguments, "--no-locale"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.as_user)


class MariaDB(DatabaseServer):
    """One process."""

    name = "MariaDB"
    database = ("CREATE DATABASE site", "CREATE USER site@'%'", "GRANT ALL ON site.* TO site@'%'")
    stop_signal = signal.SIGTERM
    read_only_on = ("SET GLOBAL read_only = 1",)
    read_only_off = ("SET GLOBAL read_only = 0",)

    @property
    def root(self) -> str:
        return f"mariadb://root@{HOST}:{self.port}"

    @property
    def command(self) -> list[str]:
        settings = {"port": self.port, "bind-address": HOST, "socket": self.folder / "socket", **self._common}
        settings |= {"innodb-buffer-pool-size": "32M", "innodb-flush-log-at-trx-commit": 2}
        return [*binary("mariadbd"), "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]

    def install(self) -> None:
        settings = {"auth-root-authentication-method": "normal", **self._common}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [*binary("mariadb-install-db"), "--no-defaults", "--skip-test-db", "--skip-name-resolve", *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    @property
    def _common(self) -> dict[str, Any]:
        return {"datadir": self.folder / "data", **({"user": "root"} if os.geteuid() == 0 else {})}


def binary(name: str) -> list[str]:
    """Return how to call a program of a database server; skip the test where it is not installed."""
    places = [
        os.environ["PATH"],
        "/usr/sbin",
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        missing(f"{name}, which starts a database server of the test's own, is not installed")
    return [found]


KINDS: dict[str, type[DatabaseServer]] = {"PostgreSQL": PostgreSQL, "MariaDB": MariaDB}


@contextmanager
def private_server(kind: str) -> Iterator[DatabaseServer]:
    """Run a server of one's own."""
    # Short, because the path of a socket holds 107 bytes.
    with tempfile.TemporaryDirectory(prefix="proving-") as folder:
        server = KINDS[kind](Path(folder))
        server.install()
        server.start()
        try:
            for statement in server.database:
                execute(server.root, statement)
            yield server
        finally:
            server.restore()
            server.kill()
