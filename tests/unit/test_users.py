"""``request.user``: what it answers without a query, and what happens when it is loaded."""

from __future__ import annotations

import copy
import itertools
import pickle
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, User, UserManager
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, DataError, InterfaceError, OperationalError, connection
from django.db.models import QuerySet
from django.utils.functional import SimpleLazyObject

from django_jwtauth import sessions, users
from django_jwtauth.claims import Claims
from django_jwtauth.db import user_rows, usernames
from django_jwtauth.errors import InvalidTokenError, UnavailableError
from django_jwtauth.models import Session
from notes.models import Note
from tests.support.statements import failing, statements


def claims(sub="1", iss="django-jwtauth"):
    return Claims(iss=iss, sub=sub, aud=("a",), exp=0, iat=0, jti="j", sid="s")


@pytest.fixture
def lazy(pair):
    return users.get_user(sessions.verify(pair.access_token))


class TestWithoutAQuery:
    def test_who_it_is_costs_nothing(self, user, other_user, lazy, django_assert_num_queries):
        model = get_user_model()
        with django_assert_num_queries(0):
            assert lazy.pk == user.pk
            assert type(lazy.pk) is type(user.pk)
            assert lazy.is_authenticated is True
            assert lazy.is_anonymous is False
            assert bool(lazy) is True
            assert isinstance(lazy, model)
            assert isinstance(lazy, SimpleLazyObject)
            assert not isinstance(lazy, AnonymousUser)
            assert hash(lazy) == hash(user)
            assert lazy._meta is model._meta

    def test_it_equals_the_user_of_the_same_key_and_no_other(self, user, other_user, lazy, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert lazy == user
            assert user == lazy
            assert lazy == users.LazyUser(user.pk, lambda error, request: error)
            assert (lazy != user) is False
            assert lazy != other_user
            assert users.LazyUser(other_user.pk, lambda error, request: error) != user
            assert other_user != lazy
            assert lazy != user.pk
            assert lazy != AnonymousUser()
            assert lazy != Note(pk=user.pk)
            assert lazy in {user}

    def test_its_repr_loads_nothing_and_names_no_token(self, lazy, pair, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert pair.access_token not in repr(lazy)


class TestLoaded:
    def test_the_first_look_loads_one_ordinary_row_and_later_ones_none(self, user, lazy):
        with statements() as executed:
            assert lazy.username == "alice"
            assert lazy.email == ""
            assert lazy.is_active
        assert len(executed) == 1
        assert lazy.get_deferred_fields() == set()
        assert str(lazy) == "alice"

    @pytest.mark.parametrize("are_all_visible", [True, False])
    def test_everybody_gets_the_row_of_their_own(self, user, other_user, monkeypatch, are_all_visible):
        monkeypatch.setattr(user_rows, "are_all_visible", lambda model: are_all_visible)
        for each in (user, other_user):
            assert users.load_user(claims(str(each.pk))).username == each.username

    def test_it_can_be_changed_and_saved(self, user, lazy):
        lazy.first_name = "Alice"
        lazy.save()
        user.refresh_from_db()
        assert user.first_name == "Alice"

    def test_it_is_assigned_to_foreign_keys_and_filtered_by(self, user, lazy):
        note = Note.objects.create(owner=lazy, title="t", text="x")
        assert note.owner_id == user.pk
        assert list(Note.objects.filter(owner=lazy)) == [note]
        assert list(Note.objects.filter(owner__in=[lazy])) == [note]

    def test_it_pickles_and_copies_as_the_user(self, user, lazy):
        assert copy.copy(lazy).username == "alice"
        assert copy.deepcopy(lazy).pk == user.pk
        unpickled = pickle.loads(pickle.dumps(lazy))  # noqa: S301
        assert type(unpickled) is get_user_model()
        assert unpickled == user

    def test_the_default_manager_decides_who_exists(self, lazy, monkeypatch):
        manager = get_user_model()._default_manager
        monkeypatch.setattr(
            type(manager), "get_queryset", lambda self: type(manager)._queryset_class(self.model).none()
        )
        user_rows.are_all_visible.cache_clear()
        with pytest.raises(InvalidTokenError):
            lazy.username  # noqa: B018
        monkeypatch.undo()
        user_rows.are_all_visible.cache_clear()


class TestRefused:
    @pytest.mark.parametrize("change", ["gone", "inactive"])
    def test_a_user_gone_or_inactive_is_refused_when_looked_at(self, user, lazy, change):
        if change == "gone":
            get_user_model().objects.filter(pk=user.pk).delete()
        else:
            get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        with pytest.raises(InvalidTokenError):
            lazy.username  # noqa: B018
        assert lazy.pk == user.pk

    def test_str_never_raises(self, user, lazy):
        get_user_model().objects.filter(pk=user.pk).delete()
        assert str(lazy) == f"User object ({user.pk})"

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    def test_a_database_that_fails_says_nothing_about_the_user(self, lazy, error):
        with failing("SELECT", error()), pytest.raises(UnavailableError):
            lazy.username  # noqa: B018

    def test_and_its_cause_is_told(self, lazy):
        with failing("SELECT", OperationalError("gone")), pytest.raises(UnavailableError) as caught:
            str(lazy.username)
        assert isinstance(caught.value.__cause__, OperationalError)

    def test_refusals_are_raised_in_the_callers_own_words(self, db):
        lazy = users.get_user(claims("99"), lambda error, request: LookupError(error.code))
        with pytest.raises(LookupError, match="token_invalid"):
            lazy.username  # noqa: B018
        with pytest.raises(LookupError, match="token_invalid"):
            users.get_user(claims("x"), lambda error, request: LookupError(error.code))

    @pytest.mark.parametrize("sub", ["", "x", "01", " 1", "1 ", "+1", "1.0", "1_0", "٣", "\0", "1\0", "\ud800", "None"])
    def test_a_subject_that_is_no_canonical_key_of_ours_names_nobody(self, sub):
        with pytest.raises(InvalidTokenError):
            users.get_user(claims(sub))
        with pytest.raises(InvalidTokenError):
            users.load_user(claims(sub))

    @pytest.mark.parametrize("iss", ["https://elsewhere.example", "Django", ""])
    def test_a_subject_of_another_issuer_names_nobody_of_ours(self, user, iss):
        with pytest.raises(InvalidTokenError):
            users.get_user(claims(str(user.pk), iss=iss))

    @pytest.mark.parametrize("sub", ["0", "-1", str(-(2**63) - 1), str(2**63), str(10**30)])
    def test_a_key_out_of_range_is_nobody(self, db, sub):
        with pytest.raises(InvalidTokenError):
            users.load_user(claims(sub))


class TestAccountKey:
    def test_no_row_is_read_but_for_the_way_in_which_mariadb_compares(self, user):
        with statements() as executed:
            usernames.account_key("alice", "username")
        assert ["WEIGHT_STRING" in sql for sql in executed] == [True] * (connection.vendor == "mysql")

    @pytest.mark.parametrize("name", ["alice", "\u00e0lice", "nobody"])
    @pytest.mark.parametrize("collation", [None, "any"])
    def test_it_is_the_same_whether_there_is_such_a_user_or_not(self, db, monkeypatch, name, collation):
        model = get_user_model()
        monkeypatch.setattr(model._meta.get_field("username"), "db_collation", collation)
        before = usernames.account_key(name, "username")
        model.objects.create(username="alice")
        assert usernames.account_key(name, "username") == before

    @pytest.mark.parametrize("other", ["ALICE", " alice ", "\uff41\uff4c\uff49\uff43\uff45", "al\u0131ce"])
    def test_spellings_that_differ_by_case_or_width_have_one_key(self, db, other):
        assert usernames.account_key(other, "username") == usernames.account_key("alice", "username")

    @pytest.mark.parametrize("other", ["bob", "alic", "alicea", "ali ce", "\u0430lice"])
    def test_another_name_has_another_key(self, db, other):
        assert usernames.account_key(other, "username") != usernames.account_key("alice", "username")

    @pytest.mark.parametrize(
        "other", ["\u00e0lice", "\u00c5LICE", "a\u0300lice", "al\u200bice", "al-ice", "ali ce", "a\u0142ice", "alice\0"]
    )
    def test_a_column_with_a_collation_of_its_own_may_compare_letters_only(self, db, monkeypatch, other):
        monkeypatch.setattr(usernames, "connections", {"default": SimpleNamespace(vendor="postgresql")})
        monkeypatch.setattr(get_user_model()._meta.get_field("username"), "db_collation", "any")
        assert usernames.account_key(other, "username") == usernames.account_key("alice", "username")
        assert usernames.account_key("\u0436" + other, "username") != usernames.account_key("alice", "username")

    @pytest.mark.parametrize(("one", "other"), [("++", "--"), ("\u019b", "\u03bb"), ("\u4e00", "\u4e8c")])
    def test_names_without_a_plain_letter_are_told_apart_there_too(self, monkeypatch, one, other):
        monkeypatch.setattr(usernames, "connections", {"default": SimpleNamespace(vendor="postgresql")})
        monkeypatch.setattr(get_user_model()._meta.get_field("username"), "db_collation", "any")
        assert usernames.account_key(one, "username") != usernames.account_key(other, "username")

    def test_a_mistake_in_a_field_of_the_projects_own_is_not_hidden(self, monkeypatch):
        field = get_user_model()._meta.get_field("username")
        monkeypatch.setattr(field, "get_db_prep_value", lambda *arguments: {}["key"])
        with pytest.raises(KeyError):
            usernames.account_key("alice", "username")

    @pytest.mark.parametrize(
        ("model", "field", "typed", "written"),
        [
            (User, "id", "007", "7"),
            (User, "id", "x", "x"),
            (Session, "id", "{F81D4FAE7DEC41D0A76500A0C91E6BF6}", "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"),
            (User, "no_field", "X", "x"),
        ],
    )
    def test_a_value_that_is_no_text_has_one_key(self, db, monkeypatch, model, field, typed, written):
        monkeypatch.setattr(usernames, "get_user_model", lambda: model)
        assert usernames.account_key(typed, field).replace("-", "") == written.replace("-", "")

    @pytest.mark.parametrize("method", ["to_python", "get_prep_value", "get_db_prep_value"])
    def test_so_has_a_text_that_its_field_changes(self, db, monkeypatch, method):
        key = usernames.account_key("alice", "username")
        field = get_user_model()._meta.get_field("username")
        monkeypatch.setattr(field, method, lambda value, *rest, **more: value.replace(".", ""))
        assert usernames.account_key("a.l.ice", "username") == key

    @pytest.mark.parametrize("written", ["xy", "yx"])
    @pytest.mark.parametrize("method", ["get_prep_value", "get_db_prep_value"])
    def test_one_that_is_written_differently_each_time_is_left_as_it_is(self, db, monkeypatch, method, written):
        key, texts = usernames.account_key("alice", "username"), itertools.cycle(written)
        field = get_user_model()._meta.get_field("username")
        monkeypatch.setattr(field, method, lambda value, *rest, **more: next(texts))
        assert usernames.account_key("alice", "username") == key


@pytest.mark.parametrize(
    ("error", "nobody"),
    [
        (ObjectDoesNotExist(), True),
        (ValueError(), True),
        (ValidationError("no UUID"), True),
        (DataError(), True),
        (OperationalError(1267, "Illegal mix of collations"), True),
        (OperationalError(1270, "Illegal mix of collations"), True),
        (OperationalError(2006, "gone away"), False),
        (OperationalError(), False),
        (DatabaseError(1267), False),
        (KeyError(), False),
    ],
)
def test_an_error_tells_that_there_is_nobody_or_that_something_is_broken(error, nobody):
    assert user_rows.names_nobody(error) is nobody


class TestTokenUser:
    def test_it_is_known_by_issuer_and_subject(self):
        one = users.TokenUser(claims("7"))
        assert (one.pk, one.id, str(one)) == ("7", "7", "7")
        assert one == users.TokenUser(claims("7"))
        assert hash(one) == hash(users.TokenUser(claims("7")))
        assert one != users.TokenUser(claims("7", iss="other"))
        assert one != "7"
        assert one.is_authenticated
        assert one.is_active
        assert not one.is_anonymous

    def test_it_is_nobody_special_to_permissions(self):
        one = users.TokenUser(claims("7"))
        assert (one.is_staff, one.is_superuser) == (False, False)
        assert one.has_perm("notes.add_note") is False
        assert one.has_perms(["notes.add_note"], obj=one) is False
        assert one.has_module_perms("notes") is False

    def test_it_answers_no_misspelt_attribute(self):
        with pytest.raises(AttributeError):
            users.TokenUser(claims()).is_stafff  # noqa: B018


def test_that_a_login_was_overtaken_is_told_once_and_by_a_lazy_user_as_well(user):
    users.mark_overtaken(user)
    assert users.was_overtaken(SimpleLazyObject(lambda: user)) is True
    assert users.was_overtaken(user) is False


def test_a_name_may_be_as_long_as_is_promised():
    assert usernames.MAX_NAME_LENGTH == 1024


def test_the_key_of_a_child_of_another_model_is_the_parents(monkeypatch):
    link = SimpleNamespace(remote_field=object(), target_field=get_user_model()._meta.pk)
    monkeypatch.setattr(user_rows, "get_user_model", lambda: SimpleNamespace(_meta=SimpleNamespace(pk=link)))
    assert user_rows.read_pk("7") == 7


def test_a_manager_that_does_more_than_djangos_own_may_hide_users():
    class Hiding(UserManager):
        def get_queryset(self):
            return super().get_queryset()

    class Special(QuerySet):
        pass

    for manager in (Hiding(), Special.as_manager()):
        manager.model = get_user_model()
        assert user_rows.are_all_visible(type("Model", (), {"_default_manager": manager})) is False
    assert user_rows.are_all_visible(get_user_model()) is True


def test_keys_are_read_anew_when_the_user_model_changes(settings):
    assert users.local_pk(claims("7")) == 7
    remembered = users._to_pk.cache_info().currsize
    settings.ALLOWED_HOSTS, settings.JWTAUTH = ["any.example"], dict(settings.JWTAUTH)
    assert users._to_pk.cache_info().currsize == remembered
    settings.AUTH_USER_MODEL = "sessions.Session"
    assert users.local_pk(claims("7")) == "7"
    for impossible in ("7\0", "7\ud800", "7" * 41):
        assert users.local_pk(claims(impossible)) is None
