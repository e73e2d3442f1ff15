"""The audit trail: one log record for each thing that happens to a session, with fields, and never a token."""

from __future__ import annotations

import logging

import pytest

from django_jwtauth import sessions
from django_jwtauth.errors import ReusedTokenError
from django_jwtauth.models import Session
from django_jwtauth.signals import session_revoked
from tests.support.answers import assert_no_token_in

FIELDS = ("event", "sid", "user_id", "reason", "actor_id", "ip_address")


@pytest.fixture
def trail(caplog, django_capture_on_commit_callbacks):
    """Return a function that does something, commits, and returns level and fields of what was logged."""
    caplog.set_level(logging.DEBUG, "django_jwtauth")

    def record(act):
        caplog.clear()
        with django_capture_on_commit_callbacks(execute=True):
            answer = act()
        found = [entry for entry in caplog.records if entry.name == "django_jwtauth" and hasattr(entry, "event")]
        for entry in found:
            # Neither in the message nor in any field.
            told = f"{entry.getMessage()} {vars(entry)}"
            assert_no_token_in(told)
        return answer, [(entry.levelname, {name: getattr(entry, name) for name in FIELDS}) for entry in found]

    return record


def fields(event, session, actor=None, reason="", address="127.0.0.1"):
    return {
        "event": event,
        "sid": session.sid,
        "user_id": str(session.user_id),
        "reason": reason,
        "actor_id": None if actor is None else str(actor.pk),
        "ip_address": address,
    }


def post(client, path, **body):
    return lambda: client.post(path, body, format="json")


def test_a_login_a_refresh_and_a_logout_over_http(trail, client, user):
    answer, logged = trail(post(client, "/auth/token/", username="alice", password="correct horse"))
    session = Session.objects.get()
    assert logged == [("INFO", fields("session_started", session))]
    answer, logged = trail(post(client, "/auth/token/refresh/", refresh_token=answer.json()["refresh_token"]))
    assert logged == [("DEBUG", fields("session_refreshed", session))]
    _, logged = trail(post(client, "/auth/token/revoke/", token=answer.json()["refresh_token"]))
    assert logged == [("INFO", fields("session_revoked", session, reason="logout"))]


def test_reuse_is_a_warning_beside_the_revocation(trail, client, pair, jwtauth):
    sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
    _, logged = trail(post(client, "/auth/token/refresh/", refresh_token=pair.refresh_token))
    assert logged == [
        ("INFO", fields("session_revoked", pair.session, reason="reuse")),
        ("WARNING", fields("refresh_token_reused", pair.session)),
    ]


def retry(client, pair, **headers):
    refresh = post(client, "/auth/token/refresh/", refresh_token=pair.refresh_token)
    refresh()
    client.credentials(**headers)
    return refresh


def test_a_retry_by_the_same_client_is_logged(trail, client, pair):
    _, logged = trail(retry(client, pair))
    assert ("INFO", fields("refresh_token_retried", pair.session)) in logged


def test_a_retry_by_another_client_is_a_warning(trail, client, pair):
    _, logged = trail(retry(client, pair, REMOTE_ADDR="203.0.113.9"))
    assert ("WARNING", fields("refresh_token_retried", pair.session, address="203.0.113.9")) in logged


def test_the_client_is_logged_unless_none_is_recorded(trail, client, pair, caplog, jwtauth):
    trail(retry(client, pair, HTTP_USER_AGENT="curl/8.0"))
    assert {record.client for record in caplog.records if hasattr(record, "event")} == {"curl"}
    jwtauth(RECORD_CLIENT=False)
    trail(retry(client, sessions.start(pair.session.user), HTTP_USER_AGENT="curl/8.0"))
    assert {record.client for record in caplog.records if hasattr(record, "event")} == {None}


def test_who_ends_a_session_through_the_api_is_named(trail, bearer, pair, user):
    client = bearer(pair.access_token)
    _, logged = trail(lambda: client.delete(f"/auth/sessions/{pair.session.sid}/"))
    assert logged == [("INFO", fields("session_revoked", pair.session, user, "logout"))]


def test_so_is_who_ends_all_sessions_there(trail, bearer, pair, user):
    client = bearer(pair.access_token)
    _, logged = trail(lambda: client.delete("/auth/sessions/"))
    assert logged == [("INFO", fields("session_revoked", pair.session, user, "logout"))]


def test_so_is_the_administrator_and_whose_session_it_was(trail, admin_client, admin_user, pair):
    data = {"action": "revoke_selected", "_selected_action": [str(pair.session.pk)], "post": "yes"}
    answer, logged = trail(lambda: admin_client.post("/admin/jwtauth/session/", data))
    assert answer.status_code == 302
    assert logged == [("INFO", fields("session_revoked", pair.session, admin_user, "admin"))]


def test_what_code_does_has_no_actor_and_no_address(trail, pair, user):
    def change_password():
        user.set_password("new")
        user.save()

    _, logged = trail(change_password)
    assert logged == [("INFO", fields("session_revoked", pair.session, reason="password", address=None))]


def test_where_clients_are_not_recorded_no_address_is_logged(trail, client, user, jwtauth):
    jwtauth(RECORD_CLIENT=False)
    _, logged = trail(post(client, "/auth/token/", username="alice", password="correct horse"))
    assert [found["ip_address"] for _, found in logged] == [None]


def test_what_is_rolled_back_is_not_logged(trail, pair):
    def revoke():
        from django.db import transaction

        with transaction.atomic():
            sessions.revoke(pair.session)
            transaction.set_rollback(True)

    assert trail(revoke) == (None, [])


def test_what_is_not_listened_to_is_not_made(trail, pair, caplog, monkeypatch):
    caplog.set_level(logging.ERROR, "django_jwtauth")
    monkeypatch.setattr(Session, "sid", property(lambda self: pytest.fail("it was made")))
    session_revoked.send(sender=Session, session=pair.session, reason="logout", request=None)


def test_a_refused_refresh_is_no_event(trail, pair):
    def refuse():
        for _ in range(2):
            with pytest.raises(ReusedTokenError):
                sessions.refresh(pair.refresh_token)
            return

    sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
    _, logged = trail(refuse)
    assert [found["event"] for _, found in logged] == ["session_revoked", "refresh_token_reused"]
