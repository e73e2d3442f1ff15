"""Where a deployment with several databases may send its statements."""

from __future__ import annotations

from typing import Any


class ReplicaRouter:
    """Reads from a replica, which lags."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True


class ElsewhereRouter:
    """Keeps everything on another database than the default one."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "elsewhere"

    db_for_write = db_for_read
