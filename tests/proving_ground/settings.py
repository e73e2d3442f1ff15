"""The example project as it is deployed, with what a scenario changes: JSON in the variable ``PROVING_GROUND``."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from config.settings import *

CHANGES: dict[str, Any] = json.loads(os.environ.get("PROVING_GROUND") or "{}")

JWTAUTH = {
    **JWTAUTH,
    **{name: timedelta(seconds=seconds) for name, seconds in CHANGES.get("durations", {}).items()},
}

# Every client of a scenario comes from one address.
REST_FRAMEWORK = {
    **REST_FRAMEWORK,
    "DEFAULT_THROTTLE_RATES": dict.fromkeys(
        (
            "jwtauth_login",
            "jwtauth_login_account",
            "jwtauth_login_good",
            "jwtauth_refresh_failed",
            "jwtauth_refresh",
            "jwtauth_revoke",
        )
    ),
}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Thousands of logins and refusals are what is asked for.
LOGGING["loggers"] |= {"django.request": {"level": "ERROR"}, "django_jwtauth": {"level": "WARNING"}}

if url := CHANGES.get("replica"):
    DATABASES["replica"] = env.database(url)
    DATABASE_ROUTERS = ["tests.proving_ground.routers.ReplicaRouter"]

if CHANGES.get("elsewhere"):
    # A file in which there is nothing: whatever asks it fails.
    DATABASES = {"default": env.database("sqlite:////dev/null"), "elsewhere": DATABASES["default"]}
    DATABASE_ROUTERS = ["tests.proving_ground.routers.ElsewhereRouter"]
