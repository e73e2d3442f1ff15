"""
What the example answers to requests made up from its OpenAPI schema is in that schema, and never a 5xx.

No part of a plain run, for Schemathesis slows down the start of each one where it is installed. By itself:

    pip install -e '.[test,schema]'
    python -m pytest -s tests/http/fuzz_openapi.py

`JWTAUTH_SCHEMA_EXAMPLES=150` before the second one is its full size.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from config.wsgi import application
from django_jwtauth import sessions
from django_jwtauth.models import Reason
from notes.models import Note

try:
    import schemathesis
    from hypothesis import HealthCheck, strategies
    from hypothesis import settings as bounds
    from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("Schemathesis is not installed: pip install -e '.[test,schema]'", allow_module_level=True)

EXAMPLES = int(os.environ.get("JWTAUTH_SCHEMA_EXAMPLES", "10"))
"""For each operation."""
HOST = "localhost"
"""Whom the tool asks."""
BEARERS = ("live", "live", "live", "revoked", "ill-formed", "none")
NO_RATES = dict.fromkeys(
    (
        "jwtauth_login",
        "jwtauth_login_account",
        "jwtauth_login_good",
        "jwtauth_refresh",
        "jwtauth_refresh_failed",
        "jwtauth_revoke",
    )
)


@pytest.fixture
def seen() -> Iterator[Counter[str]]:
    """Count the answers, and print them at the end."""
    counter: Counter[str] = Counter()
    yield counter
    print(f"\n{counter.total()} requests: {dict(sorted(counter.items()))}")


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    """Let in what the tool sends, as often as it likes."""
    settings.ALLOWED_HOSTS = [HOST]
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": NO_RATES}


with override_settings(ALLOWED_HOSTS=[HOST]):
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
schema.config.checks.negative_data_rejection.expected_statuses.append("413")
schema = schema.exclude(path_regex="^/api/schema/")


@schema.given(bearer=strategies.sampled_from(BEARERS), is_known=strategies.booleans())
@schema.parametrize()
@bounds(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    # One user for all of them, and a slow machine is no fault.
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
def test_no_answer_is_undocumented(case: Any, bearer: str, is_known: bool, user: Any, seen: Counter[str]) -> None:
    pair = sessions.start(user)
    if is_known and case.meta.generation.mode.is_positive:
        make_known(case, pair, user)
    if bearer == "revoked":
        sessions.revoke(pair.session, Reason.LOGOUT)
    token = "x" if bearer == "ill-formed" else pair.access_token
    answer = case.call_and_validate(
        headers={} if bearer == "none" else {"Authorization": f"Bearer {token}"}, excluded_checks=unfit_checks(case)
    )
    seen[f"{case.method} {case.path} {answer.status_code}"] += 1


def unfit_checks(case: Any) -> list[Any]:
    """Return the checks that take a right answer for a wrong one."""
    # No schema says that text is of more than blanks and NULs.
    unfit = [positive_data_acceptance]
    # What makes a request a bad one may be that it has no token, and then it is sent with ours.
    if not case.path.startswith("/auth/token/"):
        unfit.append(negative_data_rejection)
    return unfit


def make_known(case: Any, pair: Any, user: Any) -> None:
    """Name what exists in a good request, where made up values never would."""
    known = {
        "username": user.get_username(),
        "password": "correct horse",
        "refresh_token": pair.refresh_token,
        "token": pair.access_token,
    }
    if isinstance(case.body, dict):
        case.body = {name: known.get(name, value) for name, value in case.body.items()}
    if "sid" in case.path_parameters:
        case.path_parameters["sid"] = pair.session.sid
    if "id" in case.path_parameters:
        case.path_parameters["id"] = Note.objects.get_or_create(owner=user)[0].pk
