"""The example project under gunicorn: every answer names the process that gave it and the server it belongs to.

Variables such as ``FETCHED_RING_COOL_DOWN`` shorten what a test would otherwise wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from config.wsgi import application as example
from django_jwtauth.issuers import jwks

for name in ("REFETCH_AGE", "COOL_DOWN"):
    if seconds := os.environ.get(f"FETCHED_RING_{name}"):
        setattr(jwks, name, float(seconds))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        processes = [("X-Worker-Pid", str(os.getpid())), ("X-Server-Pid", str(os.getppid()))]
        return start_response(status, [*headers, *processes], *rest)

    return example(environ, start)
