"""``manage.py demo`` of the example project, with its development server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.docs.quickstart import free_port, wait_for
from tests.support.servers import EXAMPLE, HOST, Connection, environment

pytestmark = pytest.mark.processes


@pytest.fixture
def demo(tmp_path: Path) -> Any:
    """Return a function that starts the command with an address."""

    def start(address: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(EXAMPLE / "manage.py"), "demo", address]
        variables = environment(f"sqlite:///{tmp_path}/demo.sqlite3", DEBUG="1")
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


@pytest.fixture
def running(demo: Any) -> Iterator[tuple[int, str, Connection]]:
    """Run the demo. Return its port, the password of the user ``demo`` and a connection."""
    port = free_port()
    with demo(f"{HOST}:{port}") as process:
        printed = next(found for line in process.stdout if (found := re.match(r"User demo, password (\S+)", line)))
        wait_for(port, process)
        with closing(Connection(port)) as connection:
            yield port, printed[1], connection
        process.kill()


def test_a_second_demo_that_cannot_serve_ends_no_session(running: Any, demo: Any) -> None:
    port, password, first = running
    credentials = {"username": "demo", "password": password}
    pair = first.request("POST", "/auth/token/", credentials).json

    for address, message in {
        f"{HOST}:{port}": "port is already in use",
        "no port": "is not a valid port number",
    }.items():
        second = demo(address)
        printed, _ = second.communicate(timeout=60)
        assert (second.returncode, message in printed) == (1, True), printed
        assert "password" not in printed

    assert first.request("POST", "/auth/token/refresh/", {"refresh_token": pair["refresh_token"]}).status == 200
    assert first.request("POST", "/auth/token/", credentials).status == 200
