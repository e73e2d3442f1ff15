"""Keys over their whole life, by settings alone: standby, signing, retired, removed. Sessions live on throughout."""

from __future__ import annotations

from http import HTTPStatus

import jwt
import pytest

from django_jwtauth import sessions
from django_jwtauth.errors import InvalidTokenError
from django_jwtauth.issuers.own import configured_ring
from tests.support import keys

HS256, ES256, EDDSA = (keys.entry(algorithm) for algorithm in keys.FAST)
ROTATIONS = {
    "HS256 to ES256": (HS256, ES256),
    "ES256 to EdDSA": (ES256, EDDSA),
    "EdDSA to HS256": (EDDSA, HS256),
    "ES256 to another of its kind": (ES256, keys.entry("ES256", "second")),
    "the default to ES256": ("SECRET_KEY", ES256),
    "ES256 to the default": (ES256, "SECRET_KEY"),
}


@pytest.fixture
def sign_with(jwtauth):
    def sign_with(*entries):
        jwtauth(ISSUER=keys.ISSUER, SIGNING_KEYS=list(entries))

    return sign_with


def kid_of(pair):
    return jwt.get_unverified_header(pair.access_token)["kid"]


def is_accepted(client, pair):
    answer = client.get("/api/ping/", HTTP_AUTHORIZATION=f"Bearer {pair.access_token}")
    if answer.status_code == HTTPStatus.OK:
        return True
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")
    return False


@pytest.mark.parametrize(("old", "new"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_key_stands_by_signs_retires_and_is_gone(old, new, sign_with, user, client):
    sign_with(new)
    kid_of_new = configured_ring().signing_key.kid

    sign_with(old)
    before = sessions.start(user)
    assert is_accepted(client, before)

    sign_with(old, new)
    standby = sessions.refresh(before.refresh_token)
    assert kid_of(standby) == kid_of(before) != kid_of_new

    sign_with(new, old)
    signed = sessions.refresh(standby.refresh_token)
    assert kid_of(signed) == kid_of_new
    assert all(is_accepted(client, pair) for pair in (before, standby, signed))

    # A server that has not got the last change yet verifies what the others sign.
    sign_with(old, new)
    assert is_accepted(client, signed)

    sign_with(new)
    # What was remembered a moment ago is refused.
    assert [is_accepted(client, pair) for pair in (before, standby, signed)] == [False, False, True]
    after = sessions.refresh(signed.refresh_token)
    assert is_accepted(client, after)
    assert after.session.pk == before.session.pk


@pytest.mark.parametrize(("old", "new"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_key_that_is_replaced_at_once_ends_no_session(old, new, sign_with, user, client):
    sign_with(old)
    pair = sessions.start(user)
    assert is_accepted(client, pair)
    sign_with(new)
    assert not is_accepted(client, pair)
    assert is_accepted(client, sessions.refresh(pair.refresh_token))


def test_the_secret_key_changes_in_two_steps(settings, user, client):
    def refreshed(pair):
        """A pair for the next step, after all servers accepted the last one."""
        assert is_accepted(client, pair)
        return sessions.refresh(pair.refresh_token)

    old, new = settings.SECRET_KEY, "n" * 50
    before = sessions.start(user)
    settings.SECRET_KEY_FALLBACKS = [new]
    announced = refreshed(before)
    assert kid_of(announced) == kid_of(before)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
    swapped = refreshed(announced)
    assert kid_of(swapped) != kid_of(before)
    # One server behind the others.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = old, [new]
    behind = refreshed(swapped)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
    last = refreshed(behind)
    settings.SECRET_KEY_FALLBACKS = []
    assert not is_accepted(client, before)
    assert refreshed(last).session.pk == before.session.pk


def test_the_secret_key_changes_under_keys_of_ones_own_without_touching_access_tokens(
    settings, sign_with, user, client
):
    sign_with(ES256)
    pair = sessions.start(user)
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [old]
    successor = sessions.refresh(pair.refresh_token)
    settings.SECRET_KEY_FALLBACKS = []
    assert is_accepted(client, pair)
    with pytest.raises(InvalidTokenError):
        sessions.refresh(pair.refresh_token)
    assert is_accepted(client, sessions.refresh(successor.refresh_token))
