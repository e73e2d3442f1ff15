"""
Settings of a second service: it has no database and no secret, and verifies the tokens of the first by its public keys.

    JWT_ISSUER=https://api.example.com JWT_JWKS_URL=https://api.example.com/.well-known/jwks.json \\
        DJANGO_SETTINGS_MODULE=config.service_settings gunicorn --pythonpath example_project config.wsgi
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from . import env

# Runs from a checkout in which the package is not installed, too; an installed one is found first.
sys.path.append(str(Path(__file__).resolve().parent.parent.parent))

# Django wants one. Nothing is signed with it here, so it need not be the same in every process.
SECRET_KEY = secrets.token_urlsafe(50)
DEBUG = env.flag("DEBUG")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")

DATABASES: dict[str, Any] = {}

# --- Tokens

issuer = env.text("JWT_ISSUER")
jwks_url = env.text("JWT_JWKS_URL")
if not issuer or not jwks_url:
    raise ImproperlyConfigured(
        "Set JWT_ISSUER to what the first service writes into the claim iss, "
        "and JWT_JWKS_URL to the URL of its JWK Set."
    )

JWTAUTH: dict[str, Any] = {
    # No token is issued under this name.
    "ISSUER": "notes-reports",
    "TRUSTED_ISSUERS": {
        issuer: {"JWKS_URL": jwks_url, "AUDIENCE": env.text("JWT_AUDIENCE", default=issuer)},
    },
    # The denylist is in the database of the first service. Here a revoked access token works until it expires.
    "DENYLIST_INTERVAL": None,
}

# --- Applications

INSTALLED_APPS = [
    # For their classes: the REST framework and django_jwtauth refer to a user model. None of their tables exists.
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "django_jwtauth",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["django_jwtauth.authentication.JWTStatelessAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}

ROOT_URLCONF = "config.service_urls"
WSGI_APPLICATION = "config.wsgi.application"
TIME_ZONE = "UTC"

# Nobody logs in here, so there are no failed logins to count and no cookies to forge a request with.
SILENCED_SYSTEM_CHECKS = ["jwtauth.W004", "jwtauth.W010", "security.W003"]

if env.flag("FORWARDED_PROTO"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

if not DEBUG and not env.flag("INSECURE_HTTP"):
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 60 * 60
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO"},
        "django_jwtauth": {"handlers": ["console"], "level": "INFO"},
    },
}
