"""The example project, with settings that no environment changes but for the database."""

from __future__ import annotations

import os
from unittest import mock

with mock.patch.dict(os.environ, {"DATABASE_URL": os.environ.get("DATABASE_URL") or "sqlite://:memory:"}, clear=True):
    from config.settings import *

DEBUG = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "a fixed key of the test suite, longer than fifty characters"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",  # fast
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.people"]
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}  # Django 6.1 and later
