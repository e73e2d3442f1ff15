"""What holds for every user model. Run by ``tests/test_user_models.py``, once for each kind."""

from __future__ import annotations

import pickle
from http import HTTPStatus

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from django_jwtauth import receivers, sessions, users
from django_jwtauth.errors import InvalidTokenError, RevokedTokenError, TokenError
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.test import JWTClient
from notes.models import Note
from tests.statements import statements

NAME = "alice@example.com"


@pytest.fixture
def user(db):
    return get_user_model().objects.create_user(NAME, "correct horse")


@pytest.fixture
def tokens(user, client):
    credentials = {get_user_model().USERNAME_FIELD: NAME, "password": "correct horse"}
    answer = client.post("/auth/token/", credentials, format="json")
    assert answer.status_code == HTTPStatus.OK, answer.content
    return answer.json()


def is_live(pair):
    try:
        sessions.verify(pair.access_token)
        sessions.refresh(pair.refresh_token)
    except TokenError:
        return False
    return True


def test_the_system_checks_find_nothing():
    call_command("check", fail_level="WARNING")


def test_login_asks_for_the_models_own_fields(user, client):
    answer = client.post("/auth/token/", {}, format="json")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert set(answer.json()) == {get_user_model().USERNAME_FIELD, "password"}


def test_a_user_logs_in_calls_and_refreshes(user, tokens, client, bearer):
    with statements() as executed:
        answer = bearer(tokens["access_token"]).get("/api/ping/")
    assert answer.json() == {"user_id": str(user.pk) if isinstance(answer.json()["user_id"], str) else user.pk}
    assert len(executed) == 1  # the denylist, once
    with statements() as executed:
        assert bearer(tokens["access_token"]).get("/api/me/").json()["username"] == NAME
    assert len(executed) == 1
    answer = client.post("/auth/token/refresh/", {"refresh_token": tokens["refresh_token"]}, format="json")
    assert answer.status_code == HTTPStatus.OK
    assert bearer(answer.json()["access_token"]).get("/auth/sessions/").json()[0]["current"] is True
    assert bearer(answer.json()["access_token"]).delete("/auth/sessions/").status_code == HTTPStatus.NO_CONTENT
    assert bearer(tokens["access_token"]).get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED


def test_the_client_for_tests_logs_in(user):
    client = JWTClient()
    client.force_login(user)
    with statements() as executed:
        assert client.get("/api/ping/").status_code == HTTPStatus.OK
    assert executed == []
    assert client.get("/api/me/").json()["username"] == NAME


def test_the_lazy_user_is_the_user(user):
    claims = sessions.verify(sessions.start(user).access_token)
    assert claims.sub == str(user.pk)
    lazy = users.get_user(claims)
    with statements() as executed:
        assert lazy == user
        assert lazy.pk == user.pk
        assert isinstance(lazy, get_user_model())
    assert executed == []
    assert lazy.get_username() == NAME
    assert Note.objects.create(owner=lazy, title="t").owner_id == user.pk
    assert list(Note.objects.filter(owner=lazy).values_list("owner", flat=True)) == [user.pk]
    assert pickle.loads(pickle.dumps(lazy)) == user  # noqa: S301
    lazy.save()
    user.refresh_from_db()
    assert user.get_username() == NAME


@pytest.mark.parametrize("sub", ["", "\0", "\ud800", "x" * 9000, " "])
def test_a_subject_that_is_no_key_names_nobody(db, sub):
    claims = sessions.Claims(iss="django-jwtauth", sub=sub, aud=("a",), exp=0, iat=0, jti="j", sid="s")
    with pytest.raises(InvalidTokenError):
        users.load_user(claims)


def test_password_change_deactivation_and_deletion_end_sessions(user):
    first = sessions.start(user)
    assert is_live(first)
    user.set_password("new")
    user.save()
    assert not is_live(first)
    second = sessions.start(user)
    user.is_active = False
    user.save()
    assert not is_live(second)
    user.is_active = True
    user.save()
    third = sessions.start(user)
    pk = str(user.pk)
    user.delete()
    assert not is_live(third)
    assert DenylistEntry.objects.filter(user_id=pk).count() == 3


def test_an_activity_that_is_computed_from_other_fields_ends_sessions_as_well(user):
    if not hasattr(user, "left_at"):
        pytest.skip("only where it is")
    pair = sessions.start(user)
    user.save(update_fields=["email"])
    assert is_live(pair)
    user.left_at = timezone.now()
    user.save(update_fields=["left_at"])
    with pytest.raises(RevokedTokenError):
        sessions.verify(pair.access_token)
    assert Session.objects.get().revoke_reason == "inactive"


def test_through_every_model_that_is_a_user_model(user, proxy_user):
    pair = sessions.start(user)
    proxy_user.objects.get(pk=user.pk).delete()
    with pytest.raises(RevokedTokenError):
        sessions.verify(pair.access_token)


def test_a_child_with_a_row_of_its_own_is_a_user_as_well(db):
    from tests.user_kinds.models import Account, Staff

    if get_user_model() is not Account:
        pytest.skip("only where the user model has this child")
    staff = Staff.objects.create_user(NAME, "x", desk="1")
    pair = sessions.start(Account.objects.get(pk=staff.pk))
    staff.set_password("new")
    staff.save()
    assert not is_live(pair)
    second = sessions.start(Account.objects.get())
    staff.delete(keep_parents=True)
    assert is_live(second)
    other = Staff.objects.create_user("bob@example.com", "x", desk="2")
    third = sessions.start(Account.objects.get(pk=other.pk))
    other.delete()
    assert not is_live(third)
    assert DenylistEntry.objects.get(value=third.session.pk).reason == "deleted"


def test_on_sqlite_a_lock_begins_with_a_write(user):
    if connection.features.has_select_for_update:
        pytest.skip("only where no row can be locked")
    with statements() as executed:
        receivers._locked(user)
    assert [sql.partition(" ")[0] for sql in executed] == ["UPDATE", "SELECT"]


def test_a_user_whom_the_default_manager_hides_is_gone(user):
    if not hasattr(user, "deleted"):
        pytest.skip("only where the manager hides users")
    pair = sessions.start(user)
    call_command("jwtauth_inspect", pair.refresh_token)
    user.deleted = True
    user.save(update_fields=["deleted"])
    with pytest.raises(SystemExit):
        call_command("jwtauth_inspect", pair.refresh_token)
    with pytest.raises(InvalidTokenError):
        sessions.refresh(pair.refresh_token)
    with pytest.raises(InvalidTokenError):
        users.load_user(sessions.verify(pair.access_token))


def test_retry_and_reuse_work_with_any_key(user):
    pair = sessions.start(user)
    second = sessions.refresh(pair.refresh_token)
    assert sessions.refresh(pair.refresh_token).refresh_token == second.refresh_token
    sessions.refresh(second.refresh_token)
    with pytest.raises(TokenError):
        sessions.refresh(pair.refresh_token)
    assert Session.objects.get().revoke_reason == "reuse"
