"""Letting time pass: for a session in the database, and for the clocks of this process."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import rest_framework.throttling  # noqa: F401  # keeps the clock that it is imported with, which must be the real one

from django_jwtauth.models import Session


def age(session: Session, by: timedelta) -> None:
    """Let time pass for a session: everything about it happened longer ago."""
    moments = ("access_expires_at", "created_at", "refreshed_at", "expires_at", "ends_at")
    session.refresh_from_db()
    Session.objects.filter(pk=session.pk).update(**{name: getattr(session, name) - by for name in moments})


def turn_clocks(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Turn the clocks of this process forward, both that of the wall and the one that never goes back."""
    monotonic, wall = time.monotonic, time.time
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + seconds)
    monkeypatch.setattr(time, "time", lambda: wall() + seconds)


def stop_clock(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    """Let the clock of the wall stand at a moment, in seconds since 1970."""
    monkeypatch.setattr(time, "time", lambda: moment)
