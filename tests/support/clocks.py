"""Both clocks, to be turned by hand."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from django_jwtauth.denylist import snapshot
from django_jwtauth.process import clock, reloading


class Clocks:
    """The monotonic and the wall clock of everything that is reloaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Whole seconds, which add up exactly.
        self.monotonic, self.wall = float(int(time.monotonic())), float(int(time.time()))
        stopped = SimpleNamespace(monotonic=lambda: self.monotonic, time=lambda: self.wall)
        for module in (clock, snapshot, reloading):
            monkeypatch.setattr(module, "time", stopped)

    def pass_(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds
