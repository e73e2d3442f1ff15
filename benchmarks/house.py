"""The shape of the package, and the way that a request takes through it.

`python -m benchmarks.house` prints how large the package is, and which files and functions of it a bearer token, a
refresh and a revocation by an administrator visit. It needs the `test` extra and no database server.
"""

from __future__ import annotations

import ast
import io
import os
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "django_jwtauth"
COLUMNS = 100


def shape() -> dict[str, object]:
    """Count files, statements and lines of the package, its migration left out."""
    files = [path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts]
    texts = [path.read_text() for path in files]
    lines = [line for text in texts for line in text.splitlines()]
    code = [len(line.strip()) for text in texts for line in code_lines(text)]
    return {
        "files at the top": sum(path.parent == PACKAGE for path in files),
        "files": len(files),
        "statements": sum(isinstance(node, ast.stmt) for text in texts for node in ast.walk(ast.parse(text))),
        "lines": len(lines),
        f"lines over {COLUMNS} columns": sum(len(line) > COLUMNS for line in lines),
        "mean length of a code line": round(sum(code) / len(code), 1),
    }


def code_lines(text: str) -> Iterator[str]:
    """Yield the lines that hold code, not comments and docstrings alone."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    numbers = {token.start[0] for token in tokens if token.type not in layout} - docstrings
    lines = text.splitlines()
    return (lines[number - 1] for number in sorted(numbers))


def trace(act: Callable[[], Any]) -> tuple[int, list[str]]:
    """Return how many functions of the package were called, and which of its files, in the order of the first visit."""
    visited: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{PACKAGE}{os.sep}"):
            visited.append(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return len(visited), list(dict.fromkeys(visited))


def ways() -> dict[str, tuple[int, list[str]]]:
    """Trace a request of each kind, in a database of its own."""
    from django.contrib.auth import get_user_model
    from django.test import Client, RequestFactory
    from rest_framework.request import Request

    from django_jwtauth import sessions
    from django_jwtauth.authentication import JWTAuthentication

    users = get_user_model()._default_manager
    pair = sessions.start(users.create_user("alice"))
    operator = Client()
    operator.force_login(users.create_superuser("root"))

    def request(token: str) -> Request:
        return Request(RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"}))

    def revoke() -> None:
        page = "/admin/jwtauth/session/"
        act = {"action": "revoke_selected", "_selected_action": [str(pair.session.pk)], "post": "yes"}
        answer = operator.post(page, act)
        pair.session.refresh_from_db()
        if pair.session.revoked_at is None:
            raise RuntimeError(answer.content)

    authenticate = JWTAuthentication().authenticate
    # What is done once a process is done before.
    sessions.refresh(pair.refresh_token)
    authenticate(request(pair.access_token))
    new = sessions.start(users.create_user("bob"))
    seen, unseen = request(pair.access_token), request(new.access_token)
    return {
        "bearer, token seen": trace(lambda: authenticate(seen)),
        "bearer, token never seen": trace(lambda: authenticate(unseen)),
        "refresh": trace(lambda: sessions.refresh(new.refresh_token)),
        "revocation in the admin": trace(revoke),
    }


def main() -> None:
    """Print both."""
    sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.pop("DATABASE_URL", None)
    import django
    from django.test.utils import setup_databases, setup_test_environment

    django.setup()
    setup_test_environment()
    setup_databases(verbosity=0, interactive=False)
    for name, figure in shape().items():
        print(f"{name:28} {figure}")
    for name, (calls, files) in ways().items():
        print(f"{name:28} {calls} calls in {len(files)} files: {', '.join(files)}")


if __name__ == "__main__":
    main()
