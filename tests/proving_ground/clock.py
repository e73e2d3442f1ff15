"""A wrong time of day: seconds in the file that the variable ``CLOCK`` names are added to that of the machine.

Import it before Django's models. The monotonic clock stays true, as it does where only the time of day is wrong.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

true_time = time.time


def error() -> float:
    """Return by how many seconds the clock is wrong."""
    return float(CLOCK.read_text())


def now() -> datetime:
    """Return what Django takes for the time."""
    moment = datetime.now(UTC) + timedelta(seconds=error())
    return moment if settings.USE_TZ else timezone.make_naive(moment)


if path := os.environ.get("CLOCK"):
    CLOCK = Path(path)
    time.time = lambda: true_time() + error()
    timezone.now = now
