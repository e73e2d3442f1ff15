"""
Settings of the example, by environment (README.md lists the variables).

An empty environment is somebody trying the example out: debug mode, a SQLite file, a well-known key.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured

from . import env

BASE_DIR = Path(__file__).resolve().parent.parent

# Runs from a checkout in which the package is not installed, too; an installed one is found first.
sys.path.append(str(BASE_DIR.parent))

# --- Keys, debug mode and hosts

SECRET_KEY = env.text("SECRET_KEY")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")

# On only where nothing says that this is a deployment, so that one who forgets DEBUG=0 there is safe.
DEBUG = env.flag("DEBUG", default=not SECRET_KEY and not ALLOWED_HOSTS)

if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. It signs tokens and cookies, so there is no default outside debug mode: "
            "set the environment variable SECRET_KEY to a long random value, or DEBUG=1 to try things out."
        )
    SECRET_KEY = "django-insecure-example-development-key-that-anybody-can-read"  # noqa: S105

# --- Tokens

JWTAUTH: dict[str, Any] = {}
if issuer := env.text("JWT_ISSUER"):
    JWTAUTH["ISSUER"] = issuer
if private_key := env.text("JWT_PRIVATE_KEY"):
    # Many tools cannot put a line break into a variable; they write \n.
    JWTAUTH["SIGNING_KEYS"] = [{"ALGORITHM": "ES256", "PRIVATE_KEY": private_key.replace("\\n", "\n")}]
    # Keys that others may verify with need an issuer of their own.
    JWTAUTH.setdefault("ISSUER", "notes-example")

if access_seconds := env.number("JWT_ACCESS_SECONDS", default=0):
    JWTAUTH["ACCESS_TOKEN_LIFETIME"] = timedelta(seconds=access_seconds)

if scope := env.text("JWT_SCOPE"):
    JWTAUTH["CLAIMS"] = lambda user, session, request: {"scope": scope}

# --- Applications

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_jwtauth",
    "notes",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

REST_FRAMEWORK: dict[str, Any] = {
    # The first one asks for a token when nothing was sent; sessions serve the browsable API.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "django_jwtauth.authentication.JWTAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
if env.text("NUM_PROXIES"):
    # Behind a proxy every request comes from its address; the client's is in X-Forwarded-For.
    REST_FRAMEWORK["NUM_PROXIES"] = env.number("NUM_PROXIES", default=0)

SPECTACULAR_SETTINGS = {
    "TITLE": "Notes",
    "DESCRIPTION": "An example of revocable JSON Web Tokens with Django REST framework.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENFORCE_NON_BLANK_FIELDS": True,
    # Swagger UI from our own static files: the page loads nothing from another host.
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "django_jwtauth.openapi.document_refusals",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

# --- Database and cache

DATABASES = {
    "default": {
        **env.database(env.text("DATABASE_URL", default=f"sqlite:///{quote(str(BASE_DIR))}/db.sqlite3")),
        "ATOMIC_REQUESTS": env.flag("ATOMIC_REQUESTS"),
        "CONN_MAX_AGE": env.number("CONN_MAX_AGE", default=0),
        "CONN_HEALTH_CHECKS": True,
    }
}

if redis_url := env.text("REDIS_URL"):
    # Throttles count in the cache. Django's default one counts in each process apart.
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}}

# --- HTTPS, everywhere but in debug mode. INSECURE_HTTP=1 is for a test server on this machine.

if env.flag("FORWARDED_PROTO"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

if not DEBUG and not env.flag("INSECURE_HTTP"):
    SECURE_SSL_REDIRECT = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    # An hour, because a browser does not let go of it earlier. Raise it once HTTPS is known to work.
    SECURE_HSTS_SECONDS = 60 * 60
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# --- Logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        # Django's own handlers print nothing outside debug mode.
        "django": {"handlers": ["console"], "level": "INFO"},
        "django_jwtauth": {"handlers": ["console"], "level": "INFO"},
    },
}
