"""What holds for every user model. Run by ``tests/databases/test_user_models.py``, once for each kind."""

from __future__ import annotations

import pickle
from http import HTTPStatus

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from django_jwtauth import receivers, sessions, users
from django_jwtauth.errors import InvalidTokenError, RevokedTokenError, TokenError
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.test import JWTClient
from notes.models import Note
from tests.support.statements import statements

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


def has_ended(pair):
    """Whether the access token is refused; a refresh alone would find out as well that the user has changed."""
    try:
        sessions.verify(pair.access_token)
    except RevokedTokenError:
        return True
    return False


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
    assert has_ended(first)
    second = sessions.start(user)
    user.is_active = False
    user.save()
    assert has_ended(second)
    user.is_active = True
    user.save()
    third = sessions.start(user)
    pk = str(user.pk)
    user.delete()
    assert has_ended(third)
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


class TestHashOfItsOwn:
    @pytest.fixture(autouse=True)
    def _own(self, user):
        if not hasattr(user, "salt"):
            pytest.skip("only where the user model has one")

    @pytest.mark.parametrize("update_fields", [None, ["salt"], ["salt", "email"]])
    def test_a_save_of_any_field_that_changes_it_ends_the_sessions(self, user, update_fields):
        pair = sessions.start(user)
        user.salt = "pepper"
        user.save(update_fields=update_fields)
        assert has_ended(pair)
        assert Session.objects.get().revoke_reason == "password"
        assert is_live(sessions.start(user))

    def test_a_save_that_does_not_change_it_costs_one_statement(self, user):
        pair = sessions.start(user)
        with statements() as executed:
            user.save(update_fields=["email"])
        assert len(executed) == 2
        assert is_live(pair)

    def test_a_refresh_notices_what_no_save_told(self, user):
        pair = sessions.start(user)
        get_user_model().objects.update(salt="pepper")
        with pytest.raises(RevokedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_a_hash_upgrade_at_login_carries_the_sessions_over(self, user):
        get_user_model().objects.update(password=make_password("correct horse", hasher="pbkdf2_sha256"))
        user = get_user_model().objects.get()
        pair = sessions.start(user)
        assert user.check_password("correct horse")
        assert user.password.startswith("md5$")
        assert is_live(pair)


def test_through_every_model_that_is_a_user_model(user, proxy_user):
    pair = sessions.start(user)
    proxy_user.objects.get(pk=user.pk).delete()
    with pytest.raises(RevokedTokenError):
        sessions.verify(pair.access_token)


def test_a_child_with_a_row_of_its_own_is_a_user_as_well(db):
    from tests.support.user_kinds.models import Account, Staff

    if get_user_model() is not Account:
        pytest.skip("only where the user model has this child")
    staff = Staff.objects.create_user(NAME, "x", desk="1")
    pair = sessions.start(Account.objects.get(pk=staff.pk))
    staff.set_password("new")
    staff.save()
    assert has_ended(pair)
    second = sessions.start(Account.objects.get())
    staff.delete(keep_parents=True)
    assert is_live(second)
    other = Staff.objects.create_user("bob@example.com", "x", desk="2")
    third = sessions.start(Account.objects.get(pk=other.pk))
    other.delete()
    assert has_ended(third)
    assert DenylistEntry.objects.get(value=third.session.pk).reason == "deleted"


def test_a_child_with_a_key_of_its_own_is_known_by_that_of_the_user(db):
    from tests.support.user_kinds.models import Account, Robot

    if get_user_model() is not Account:
        pytest.skip("only where the user model has this child")
    robot = Robot.objects.create_user(NAME, "x")
    pair = sessions.start(robot)
    assert users.load_user(sessions.verify(pair.access_token)) == Account.objects.get()
    assert sessions.verify(sessions.refresh(pair.refresh_token).access_token).sub == str(robot.account_id)
    assert sessions.revoke_all(robot) == 1
    second = sessions.start(robot)
    robot.set_password("new")
    robot.save()
    assert has_ended(second)
    third = sessions.start(robot)
    robot.delete()
    assert has_ended(third)


@pytest.mark.parametrize("take", [sessions.start, sessions.revoke_all, JWTClient().force_login])
def test_a_row_of_a_parent_is_no_user_whatever_its_key(parent, take):
    for row in parent:
        with pytest.raises(TypeError, match="Expected a user"):
            take(row)


@pytest.fixture
def parent(user):
    """Return the row of a concrete parent of the user model that is this user's, for every model that sees it."""
    from tests.support.user_kinds.models import Account, AccountProxy, ChildUser, Party, PartyUser, Staff

    kinds = {ChildUser: (Account, AccountProxy, Staff), PartyUser: (Party,)}
    if get_user_model() not in kinds:
        pytest.skip("only where the user model has a concrete parent")
    if get_user_model() is ChildUser:
        # Another child of the same parent.
        staff = Staff(account_ptr_id=user.pk)
        staff.save_base(raw=True)
    key = user.party_id if get_user_model() is PartyUser else user.pk
    return [model.objects.get(pk=key) for model in kinds[get_user_model()]]


def test_what_is_saved_through_a_parent_of_the_user_model_ends_sessions(user, parent):
    for row in parent:
        if hasattr(row, "set_password"):
            pair = sessions.start(user)
            row.set_password("new")
            row.save()
            assert has_ended(pair)
            user.refresh_from_db()
    for row in parent:
        for update_fields in (None, ["left_at" if hasattr(row, "left_at") else "is_active"]):
            pair = sessions.start(user)
            vars(row).update(left_at=timezone.now(), is_active=False)
            row.save(update_fields=update_fields)
            assert has_ended(pair)
            assert Session.objects.get(pk=pair.session.pk).revoke_reason == "inactive"
            vars(row).update(left_at=None, is_active=True)
            row.save()
            user.refresh_from_db()


def test_what_is_saved_through_a_parent_that_changes_neither_ends_nothing(user, parent):
    pair = sessions.start(user)
    for row in parent:
        row.save()
        with statements() as executed:
            row.save(update_fields=["email"] if hasattr(row, "email") else [])
        assert all("jwtauth" not in sql for sql in executed)
    assert is_live(pair)


def test_a_row_of_a_parent_that_is_no_user_is_saved_as_any_other(user, parent):
    pair = sessions.start(user)
    model = type(parent[0])
    other = model.objects.create(**({"email": "other@example.com"} if hasattr(parent[0], "email") else {}))
    vars(other).update(left_at=timezone.now(), is_active=False, password=make_password("x", hasher="pbkdf2_sha256"))
    other.save()
    if hasattr(other, "check_password"):
        assert other.check_password("x")
    assert is_live(pair)


def test_a_hash_upgrade_through_a_parent_ends_nothing(user, parent):
    if not hasattr(parent[0], "check_password"):
        pytest.skip("only where the parent holds the password")
    type(parent[0]).objects.update(password=make_password("correct horse", hasher="pbkdf2_sha256"))
    user.refresh_from_db()
    pair = sessions.start(user)
    parent[0].refresh_from_db()
    assert parent[0].check_password("correct horse")
    user.refresh_from_db()
    assert user.password.startswith("md5$")
    assert is_live(pair)


def test_deleting_a_parent_ends_sessions(user, parent):
    pair = sessions.start(user)
    parent[0].delete()
    with pytest.raises(RevokedTokenError):
        sessions.verify(pair.access_token)
    assert DenylistEntry.objects.get().reason == "deleted"


def test_a_child_made_of_a_stored_user_ends_the_sessions_of_its_password(user):
    from tests.support.user_kinds.models import Account, Staff

    if not issubclass(get_user_model(), Account):
        pytest.skip("only where there is a child or a sibling")
    pair = sessions.start(user)
    Staff(account_ptr_id=user.pk, email=NAME, password=make_password("new")).save()
    user.refresh_from_db()
    assert user.check_password("new")
    assert has_ended(pair)


@pytest.mark.django_db(databases=["default", "archive"])
class TestCopies:
    """Users who were copied to another database: what happens to them there happens to nobody here."""

    @pytest.fixture
    def copy(self, user):
        copy = get_user_model().objects.get(pk=user.pk)
        copy.save(using="archive", force_insert=True)
        return copy

    def test_to_change_one_ends_nothing(self, user, copy):
        pair = sessions.start(user)
        copy.set_password("new")
        copy.is_active = False
        copy.save(using="archive")
        copy.save(using="archive", update_fields=["password"])
        assert is_live(pair)

    def test_to_upgrade_its_hash_ends_nothing(self, user, copy):
        get_user_model().objects.using("archive").update(password=make_password("x", hasher="pbkdf2_sha256"))
        pair = sessions.start(user)
        copy = get_user_model().objects.using("archive").get()
        assert copy.check_password("x")
        stored = get_user_model().objects.using("archive").get()
        assert stored.password.startswith("md5$")
        assert stored.check_password("x")
        assert get_user_model().objects.get().password == user.password
        assert is_live(pair)

    def test_to_delete_one_ends_nothing(self, user, copy):
        pair = sessions.start(user)
        copy.delete(using="archive")
        assert is_live(pair)
        get_user_model().objects.using("archive").all().delete()
        assert is_live(pair)


def test_on_sqlite_a_lock_begins_with_a_write(user):
    if connection.features.has_select_for_update:
        pytest.skip("only where no row can be locked")
    with statements() as executed:
        receivers._lock_user(user)
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
