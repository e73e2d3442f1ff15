"""The example project as it is deployed, with further settings from the environment as JSON; lifetimes in seconds."""

from __future__ import annotations

import json
import os
from datetime import timedelta

from config.settings import *

SECRET_KEY_FALLBACKS = json.loads(os.environ.get("FALLBACKS") or "[]")
JWTAUTH |= {
    name: timedelta(seconds=value) if name.endswith(("LIFETIME", "LEEWAY")) else value
    for name, value in json.loads(os.environ.get("JWTAUTH") or "{}").items()
}
