"""Settings of one worker process, from the JSON in the environment variable ``BENCHMARK``.

All products get the same framework settings: no middleware, JSON only, no throttles, connections that stay
open, the fastest password hasher (so that what stands beside the hash shows), tokens that outlive the run.
"""

import json
import os
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

CONFIG: dict[str, Any] = json.loads(os.environ["BENCHMARK"])
PRODUCT: str = CONFIG["product"]
APPS = {
    "none": [],
    "jwtauth": ["django_jwtauth"],
    "simplejwt": ["rest_framework_simplejwt", "rest_framework_simplejwt.token_blacklist"],
    "knox": ["knox"],
}[PRODUCT]
ALGORITHM: str = CONFIG["algorithm"]
PRIVATE_KEY: str = CONFIG["private_key"]

SECRET_KEY = "a key of the benchmarks that is far longer than fifty characters"  # noqa: S105
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "benchmarks.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {**CONFIG["database"], "CONN_MAX_AGE": None}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", *APPS]
MIDDLEWARE: list[str] = []
LOGGING = {"version": 1, "handlers": {"none": {"class": "logging.NullHandler"}}, "root": {"handlers": ["none"]}}
LOGGING_CONFIG = "logging.config.dictConfig"

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_THROTTLE_RATES": dict.fromkeys(
        [
            "jwtauth_login",
            "jwtauth_login_account",
            "jwtauth_login_good",
            "jwtauth_refresh",
            "jwtauth_refresh_failed",
            "jwtauth_revoke",
        ]
    ),
}

JWTAUTH: dict[str, Any] = {"ACCESS_TOKEN_LIFETIME": timedelta(hours=10)}
SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(hours=10),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    # The others write the last login at every login.
    "UPDATE_LAST_LOGIN": True,
}
if PRIVATE_KEY:
    _public = load_pem_private_key(PRIVATE_KEY.encode(), None).public_key()
    SIMPLE_JWT |= {
        "ALGORITHM": ALGORITHM,
        "SIGNING_KEY": PRIVATE_KEY,
        "VERIFYING_KEY": _public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }
    # The issuer has as many characters as the default one, which explicit keys do not allow.
    JWTAUTH |= {"SIGNING_KEYS": [{"ALGORITHM": ALGORITHM, "PRIVATE_KEY": PRIVATE_KEY}], "ISSUER": "benchmark-auth"}
if "denylist_interval" in CONFIG:
    JWTAUTH["DENYLIST_INTERVAL"] = JWTAUTH["DENYLIST_MAX_STALENESS"] = timedelta(seconds=CONFIG["denylist_interval"])
