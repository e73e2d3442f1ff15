"""A small project around the user model that ``USER_KIND`` names."""

import os

from tests.settings import *

AUTH_USER_MODEL = f"user_kinds.{os.environ['USER_KIND']}"
DATABASES["default"]["TEST"] = {"NAME": f"test_{os.environ['USER_KIND'].lower()}"}
if "sqlite" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"] = {"ENGINE": DATABASES["default"]["ENGINE"], "NAME": ":memory:"}
DATABASES["archive"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
INSTALLED_APPS = [
    "tests.support.user_kinds",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "django_jwtauth",
    "notes",
    "tests.support.people",
]
ROOT_URLCONF = "tests.support.user_kinds.urls"
MIGRATION_MODULES = {"notes": None, "people": None}
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
