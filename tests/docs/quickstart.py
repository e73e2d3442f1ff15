"""
Follow the README in a new project, with the built wheel and nothing of this checkout.

`python -m tests.docs.quickstart dist/*.whl` makes a virtual environment and a project whose users
log in by email address (docs/howto/users.md), adds the `quickstart` blocks of README.md, starts a
server on 127.0.0.1, logs in, calls a view, refreshes, revokes and is refused.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.docs.readme import DOCS, block

USERS = DOCS / "howto" / "users.md"
EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"

# A view of the new project, beside what the README has it add.
URLS = """
from rest_framework.decorators import api_view as _api_view
from rest_framework.permissions import IsAuthenticated as _IsAuthenticated
from rest_framework.decorators import permission_classes as _permission_classes
from rest_framework.response import Response as _Response


@_api_view()
@_permission_classes([_IsAuthenticated])
def _hello(request):
    return _Response({"email": request.user.email})


urlpatterns += [path("hello/", _hello)]
"""


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="quickstart-") as name:
        root = Path(name)
        python = install(wheel, root)
        make_project(python, root)
        port = free_port()
        server = subprocess.Popen(
            [python, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], cwd=root, env=environment()
        )
        try:
            wait_for(port, server)
            use(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(timeout=10)
    print("quickstart: logged in, called a view, refreshed, revoked, was refused")


def install(wheel: Path, root: Path) -> str:
    run(root, sys.executable, "-m", "venv", "venv")
    python = str(root / "venv" / "bin" / "python")
    run(root, python, "-m", "pip", "install", "--quiet", str(wheel))
    return python


def make_project(python: str, root: Path) -> None:
    run(root, python, "-m", "django", "startproject", "config", ".")
    run(root, python, "manage.py", "startapp", "accounts")
    (root / "accounts" / "models.py").write_text(block("user-model", USERS))
    settings = block("user-settings", USERS), block("new-quickstart-settings"), block("quickstart-settings")
    append(root / "config" / "settings.py", *settings)
    append(root / "config" / "urls.py", block("quickstart-urls"), URLS)
    run(root, python, "manage.py", "makemigrations", "accounts")
    run(root, python, "manage.py", "migrate", "--verbosity", "0")
    run(root, python, "manage.py", "makemigrations", "--check", "--dry-run")
    run(root, python, "manage.py", "check", "--fail-level", "WARNING")
    run(root, python, "manage.py", "createsuperuser", "--noinput", "--email", EMAIL)


def use(site: str) -> None:
    status, _ = call(f"{site}/hello/")
    expect(status, HTTPStatus.UNAUTHORIZED, "a view without a token")
    status, _ = call(f"{site}/auth/token/", {"email": EMAIL, "password": "wrong"})
    expect(status, HTTPStatus.UNAUTHORIZED, "a login with a wrong password")

    status, first = call(f"{site}/auth/token/", {"email": EMAIL, "password": PASSWORD})
    expect(status, HTTPStatus.OK, "a login")
    status, answer = call(f"{site}/hello/", token=first["access_token"])
    expect((status, answer), (HTTPStatus.OK, {"email": EMAIL}), "a view")

    status, second = call(f"{site}/auth/token/refresh/", {"refresh_token": first["refresh_token"]})
    expect(status, HTTPStatus.OK, "a refresh")
    expect(second["refresh_token"] != first["refresh_token"], True, "the rotation of the refresh token")
    status, _ = call(f"{site}/hello/", token=second["access_token"])
    expect(status, HTTPStatus.OK, "a view after the refresh")

    status, _ = call(f"{site}/auth/token/revoke/", {"token": second["refresh_token"]})
    expect(status, HTTPStatus.OK, "a revocation")
    for pair in (first, second):
        status, answer = call(f"{site}/hello/", token=pair["access_token"])
        expect((status, answer["code"]), (HTTPStatus.UNAUTHORIZED, "token_revoked"), "a view after the revocation")
    status, _ = call(f"{site}/auth/token/refresh/", {"refresh_token": second["refresh_token"]})
    expect(status, HTTPStatus.UNAUTHORIZED, "a refresh after the revocation")


def expect(seen: object, wanted: object, what: str) -> None:
    if seen != wanted:
        sys.exit(f"quickstart: {what}: {seen!r} instead of {wanted!r}")


def call(url: str, body: dict[str, str] | None = None, token: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, _json(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read())


def _json(content: bytes) -> Any:
    return json.loads(content) if content else None


def append(file: Path, *texts: str) -> None:
    file.write_text("\n".join([file.read_text(), *texts]))


def run(root: Path, *command: str) -> None:
    subprocess.run(command, cwd=root, env=environment(), check=True)


def environment() -> dict[str, str]:
    """Return ours without what could point to this checkout, and with the password for createsuperuser."""
    foreign = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return kept | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"quickstart: the server ended with {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("quickstart: the server did not answer within 30 seconds")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
