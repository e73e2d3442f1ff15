"""Scopes: who is granted, and what a refusal tells."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_jwtauth import sessions

pytestmark = pytest.mark.urls("tests.support.views")

CHALLENGE = 'Bearer realm="api", error="insufficient_scope", scope="notes:read notes:write"'


@pytest.fixture
def scoped(user, jwtauth, bearer):
    """Return a client whose token has these scopes; None: a token that names no scope."""

    def make(scope):
        jwtauth(CLAIMS=lambda user, session, request: {} if scope is None else {"scope": scope})
        return bearer(sessions.start(user).access_token)

    return make


@pytest.mark.parametrize("scope", ["notes:read notes:write", "notes:write  other notes:read"])
def test_a_token_with_every_required_scope_is_granted(scoped, scope):
    assert scoped(scope).get("/scoped/").status_code == HTTPStatus.OK


@pytest.mark.parametrize("scope", [None, "", "notes:read", "notes", "notes:readnotes:write"])
def test_a_token_that_lacks_one_is_told_which_are_needed(scoped, scope):
    answer = scoped(scope).get("/scoped/")
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert answer["WWW-Authenticate"] == CHALLENGE


def test_without_a_token_it_is_401(client, db):
    answer = client.get("/scoped/")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'


def test_it_composes_and_a_grant_by_another_carries_no_challenge(scoped, user):
    answer = scoped("other").get("/scoped-or-anyone/")
    assert answer.status_code == HTTPStatus.OK
    assert not answer.has_header("WWW-Authenticate")


def test_composed_and_refused_it_carries_the_challenge(scoped, user):
    client = scoped("other")
    answer = client.get("/scoped-or-staff/")
    assert answer.status_code == HTTPStatus.FORBIDDEN
    assert answer["WWW-Authenticate"] == CHALLENGE
    user.is_staff = True
    user.save()
    assert client.get("/scoped-or-staff/").status_code == HTTPStatus.OK


def test_a_view_that_names_no_scopes_is_a_mistake(scoped):
    with pytest.raises(ImproperlyConfigured, match="required_scopes"):
        scoped("x").get("/unnamed-scope/")


@pytest.mark.parametrize(
    ("scope", "status"), [(None, 200), ("sessions", 200), ("a sessions", 200), ("a", 403), ("", 403)]
)
def test_a_token_limited_to_scopes_needs_one_of_its_own_to_manage_sessions(scoped, scope, status):
    client = scoped(scope)
    answer = client.get("/auth/sessions/")
    assert answer.status_code == status
    if status == HTTPStatus.FORBIDDEN:
        assert answer["WWW-Authenticate"] == 'Bearer realm="api", error="insufficient_scope", scope="sessions"'
        assert client.delete("/auth/sessions/").status_code == HTTPStatus.FORBIDDEN
        assert client.get("/plain/").status_code == HTTPStatus.OK
