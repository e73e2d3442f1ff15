"""What happens to users happens to their sessions."""

from __future__ import annotations

from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.signals import user_logged_in
from django.core import serializers
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save, pre_delete, pre_save
from django.utils.functional import SimpleLazyObject

from django_jwtauth import sessions
from django_jwtauth.errors import RevokedTokenError, TokenError
from django_jwtauth.models import DenylistEntry, Reason, Session
from tests.support.statements import statements


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


@pytest.fixture
def outdated(settings, user):
    """Store the user's password under a hasher that is no longer the preferred one."""
    user.password = make_password("correct horse", hasher="pbkdf2_sha256")
    user.save()
    return user


class TestPassword:
    def test_a_password_change_ends_the_sessions(self, user, pair):
        user.set_password("new")
        user.save()
        assert has_ended(pair)
        assert Session.objects.get().revoke_reason == Reason.PASSWORD

    @pytest.mark.parametrize("update_fields", [["password"], ["password", "last_login"], None])
    def test_however_it_is_saved(self, user, pair, update_fields):
        user.set_password("new")
        user.save(update_fields=update_fields)
        assert has_ended(pair)

    @pytest.mark.parametrize("encoded", ["!", make_password("other", hasher="md5")])
    def test_and_however_the_hash_got_there(self, user, pair, encoded):
        user.password = encoded
        user.save(update_fields=["password"])
        assert has_ended(pair)

    def test_it_ends_no_session_of_the_new_password(self, user, pair):
        user.set_password("new")
        user.save()
        later = sessions.start(user)
        user.save()
        assert is_live(later)

    def test_it_ends_nobody_elses_sessions(self, user, other_user, pair):
        other_user.set_password("new")
        other_user.save()
        assert is_live(pair)

    def test_through_a_proxy_as_well(self, user, pair, proxy_user):
        proxy = proxy_user.objects.get(pk=user.pk)
        proxy.set_password("new")
        proxy.save()
        assert has_ended(pair)


class TestHashUpgrade:
    def test_a_login_that_upgrades_the_hash_ends_nothing(self, outdated):
        pair = sessions.start(outdated)
        before = Session.objects.get().auth_hash
        assert authenticate(username="alice", password="correct horse") == outdated
        outdated.refresh_from_db()
        assert outdated.password.startswith("md5$")
        assert Session.objects.get().auth_hash != before
        assert is_live(pair)

    @pytest.mark.parametrize("fields", [{"password", "last_name"}, None])
    def test_one_by_a_model_that_saves_more_fields_ends_the_sessions(self, outdated, monkeypatch, fields):
        model, pair = get_user_model(), sessions.start(outdated)
        save = model.save
        monkeypatch.setattr(model, "save", lambda user, update_fields: save(user, update_fields=fields))
        assert authenticate(username="alice", password="correct horse") == outdated
        outdated.refresh_from_db()
        assert outdated.password.startswith("md5$")
        assert has_ended(pair)
        assert is_live(sessions.start(outdated))

    def test_no_refresh_sees_the_sessions_upgraded_and_the_user_not_yet(self, outdated, request):
        pair, seen = sessions.start(outdated), []

        def refresh_just_before_the_save(instance, **kwargs):
            seen.append(is_live(pair))

        pre_save.connect(refresh_just_before_the_save, sender=get_user_model())
        request.addfinalizer(lambda: pre_save.disconnect(refresh_just_before_the_save, sender=get_user_model()))
        assert authenticate(username="alice", password="correct horse") == outdated
        assert seen == [True]

    def test_a_refresh_that_it_overtakes_does_not_bring_the_old_hash_back(self, outdated, monkeypatch):
        pair, check, logins = sessions.start(outdated), sessions._check_refreshable, []

        def check_while_another_logs_in(*arguments):
            check(*arguments)
            if not logins:
                logins.append(authenticate(username="alice", password="correct horse"))

        monkeypatch.setattr(sessions, "_check_refreshable", check_while_another_logs_in)
        second = sessions.refresh(pair.refresh_token)
        assert logins == [outdated]
        assert is_live(second)

    def test_it_revives_no_session_of_an_older_password(self, outdated):
        stale = sessions.start(outdated)
        encoded = make_password("changed", hasher="pbkdf2_sha256")
        get_user_model().objects.update(password=encoded)
        assert authenticate(username="alice", password="changed") is not None
        with pytest.raises(RevokedTokenError):
            sessions.refresh(stale.refresh_token)

    def test_two_logins_at_once_end_no_session_and_only_the_one_that_was_overtaken_logs_in_once_more(self, outdated):
        pair = sessions.start(outdated)
        one, other = (get_user_model().objects.get(pk=outdated.pk) for _ in range(2))
        assert one.check_password("correct horse")
        started = sessions.start(one)
        assert other.check_password("correct horse")
        assert [is_live(each) for each in (pair, started)] == [True, True]
        overtaken = sessions.start(other)
        assert sessions.verify(overtaken.access_token)
        assert not is_live(overtaken)

    def test_a_login_overtaken_by_a_password_change_neither_undoes_it_nor_outlives_it(self, outdated):
        thief = get_user_model().objects.get(pk=outdated.pk)
        outdated.set_password("changed by the owner")
        outdated.save()
        assert thief.check_password("correct horse")
        started = sessions.start(thief)
        assert get_user_model().objects.get(pk=outdated.pk).check_password("changed by the owner")
        with pytest.raises(RevokedTokenError):
            sessions.refresh(started.refresh_token)

    def test_nor_where_the_user_is_lazy(self, outdated):
        thief = SimpleLazyObject(partial(get_user_model().objects.get, pk=outdated.pk))
        assert thief.is_active
        outdated.set_password("changed by the owner")
        outdated.save()
        assert thief.check_password("correct horse")
        with pytest.raises(RevokedTokenError):
            sessions.refresh(sessions.start(thief).refresh_token)

    def test_neither_does_a_receiver_that_saves_the_overtaken_user(self, outdated, request):
        def save(sender, user, **kwargs):
            user.save()

        user_logged_in.connect(save)
        request.addfinalizer(lambda: user_logged_in.disconnect(save))
        thief = get_user_model().objects.get(pk=outdated.pk)
        outdated.set_password("changed by the owner")
        outdated.save()
        assert thief.check_password("correct horse")
        sessions.start(thief)
        assert get_user_model().objects.get(pk=outdated.pk).check_password("changed by the owner")

    def test_where_rows_cannot_be_locked_the_upgrade_begins_with_a_write(self, outdated):
        user = get_user_model().objects.get(pk=outdated.pk)
        with statements() as executed:
            assert user.check_password("correct horse")
        locks = connection.features.has_select_for_update
        assert executed[0].startswith("SELECT" if locks else "UPDATE")
        assert ("FOR UPDATE" in executed[0]) is locks

    @pytest.mark.parametrize("encoded", [None, make_password("newer", hasher="md5")])
    def test_a_change_by_an_instance_whose_hash_was_just_upgraded_is_kept(self, outdated, encoded):
        user = get_user_model().objects.get(pk=outdated.pk)
        assert user.check_password("correct horse")
        pair = sessions.start(user)
        if encoded is None:
            user.set_unusable_password()
        else:
            user.password = encoded
        user.save(update_fields=["password"])
        stored = get_user_model().objects.get(pk=outdated.pk)
        assert stored.password == user.password
        assert has_ended(pair)

    def test_assigning_a_hash_over_an_outdated_one_is_a_change(self, outdated):
        pair = sessions.start(outdated)
        outdated.password = make_password("new")
        outdated.save(update_fields=["password"])
        assert has_ended(pair)

    @pytest.mark.parametrize("saved_first", [["last_login"], ["password"], None])
    def test_a_password_that_was_set_is_a_change_at_a_later_save_too(self, outdated, saved_first):
        outdated.set_password("new")
        outdated.save(update_fields=saved_first)
        pair = sessions.start(outdated)
        outdated.password = make_password("newer")
        outdated.save(update_fields=["password"])
        assert has_ended(pair)

    def test_setting_an_unusable_password_over_an_outdated_hash_is_a_change(self, outdated):
        pair = sessions.start(outdated)
        outdated.set_unusable_password()
        outdated.save(update_fields=["password"])
        assert has_ended(pair)

    def test_a_hash_of_a_row_that_is_gone_is_nobodys(self, outdated):
        get_user_model().objects.all().delete()
        outdated.set_password("x")
        outdated._password = None
        with pytest.raises(get_user_model().DoesNotExist):
            outdated.refresh_from_db()
        pre_save.send(
            type(outdated), instance=outdated, raw=False, update_fields=frozenset({"password"}), using="default"
        )


def move_legacy_hash(user, raw, **save_arguments):
    """Store a hash of Django's own as projects do whose ``check_password`` accepts an older format."""
    user.set_password(raw)
    user._password = None
    user.save(**save_arguments)


class TestWhatTheProjectSaves:
    """It is stored as it is, and no session of another password goes on."""

    @pytest.fixture(params=["md5", "pbkdf2_sha256"], ids=["current", "outdated"])
    def stored(self, request, user):
        encoded = make_password("correct horse", hasher=request.param)
        get_user_model().objects.update(password=encoded)
        return get_user_model().objects.get()

    @pytest.mark.parametrize("update_fields", [None, ["password"], ["password", "last_login"]])
    @pytest.mark.parametrize("is_async", [False, True])
    def test_no_password_at_all_is_a_change(self, stored, update_fields, is_async):
        pair = sessions.start(stored)
        stored.set_password(None)
        save = async_to_sync(stored.asave) if is_async else stored.save
        save(update_fields=update_fields)
        assert not get_user_model().objects.get().has_usable_password()
        assert authenticate(username="alice", password="correct horse") is None
        assert has_ended(pair)
        assert Session.objects.get().revoke_reason == Reason.PASSWORD

    @pytest.mark.parametrize("update_fields", [None, ["password", "last_login"]])
    def test_a_new_password_that_hides_as_an_upgrade_is_stored(self, stored, update_fields):
        pair = sessions.start(stored)
        move_legacy_hash(stored, "new", update_fields=update_fields)
        assert get_user_model().objects.get().check_password("new")
        assert has_ended(pair)
        assert is_live(sessions.start(stored))

    @pytest.mark.parametrize("legacy", ["legacy:5f4dcc", "", "!"])
    @pytest.mark.parametrize("update_fields", [None, ["password"], ["password", "last_login"]])
    def test_a_legacy_hash_is_moved(self, user, legacy, update_fields):
        get_user_model().objects.update(password=legacy)
        moved = get_user_model().objects.get()
        pair = sessions.start(moved)
        move_legacy_hash(moved, "correct horse", update_fields=update_fields)
        assert get_user_model().objects.get().check_password("correct horse")
        assert has_ended(pair)
        assert is_live(sessions.start(moved))

    @pytest.mark.parametrize("encoded", [make_password("new", hasher="pbkdf2_sha256"), "md5$legacy", ""])
    def test_a_hash_that_no_login_would_store_is_no_upgrade(self, stored, encoded):
        pair = sessions.start(stored)
        stored.password, stored._password = encoded, None
        stored.save(update_fields=["password"])
        assert get_user_model().objects.get().password == encoded
        assert has_ended(pair)

    def test_a_column_that_takes_null_is_left_to_the_database(self, stored):
        stored.password, stored._password = None, None
        with pytest.raises(IntegrityError), transaction.atomic():
            stored.save(update_fields=["password"])


class TestActivity:
    def test_deactivation_ends_the_sessions(self, user, pair):
        user.is_active = False
        user.save(update_fields=["is_active"])
        assert has_ended(pair)
        assert Session.objects.get().revoke_reason == Reason.INACTIVE

    def test_saving_an_active_flag_that_is_still_set_ends_nothing(self, user, pair):
        stale = get_user_model().objects.get(pk=user.pk)
        user.set_password("new")
        user.save()
        later = sessions.start(user)
        stale.save(update_fields=["is_active"])
        assert is_live(later)


class TestDeletion:
    @pytest.mark.parametrize("how", ["instance", "queryset", "proxy"])
    def test_deleting_the_user_denies_the_access_tokens(self, user, pair, how, proxy_user):
        if how == "queryset":
            get_user_model().objects.filter(pk=user.pk).delete()
        else:
            (user if how == "instance" else proxy_user.objects.get(pk=user.pk)).delete()
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)
        assert not Session.objects.exists()
        assert DenylistEntry.objects.get().reason == Reason.DELETED

    def test_the_entry_names_the_user_by_text(self, user, pair):
        key = str(user.pk)
        user.delete()
        assert DenylistEntry.objects.get().user_id == key


class TestCosts:
    @pytest.mark.parametrize("update_fields", [["last_login"], ["email", "first_name"], []])
    def test_a_save_of_other_fields_costs_nothing(self, user, pair, update_fields):
        with statements() as executed:
            user.save(update_fields=update_fields)
        assert len(executed) == bool(update_fields)
        assert is_live(pair)

    def test_a_deferred_password_stays_deferred(self, user, pair):
        partial = get_user_model().objects.only("pk", "first_name").get()
        with statements() as executed:
            partial.first_name = "Alice"
            partial.save()
        assert len(executed) == 1
        assert "password" in partial.get_deferred_fields()

    def test_a_full_save_costs_one_statement(self, user, pair):
        with statements() as executed:
            user.save()
        assert len(executed) == 2
        assert is_live(pair)

    def test_creating_a_user_costs_nothing(self, db):
        with statements() as executed:
            get_user_model().objects.create_user("carol", password="x")
        assert len(executed) == 1

    def test_a_fixture_loaded_raw_is_left_alone(self, user, pair):
        user.is_active = False
        text = serializers.serialize("json", [user])
        with statements() as executed:
            for loaded in serializers.deserialize("json", text):
                loaded.save()
        assert all("jwtauth" not in sql for sql in executed)


def test_only_user_models_are_listened_to(proxy_user):
    from notes.models import Note

    for signal in (pre_save, post_save, pre_delete):
        assert signal.has_listeners(get_user_model())
        assert signal.has_listeners(proxy_user)
        assert not signal.has_listeners(Note)
