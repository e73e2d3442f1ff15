from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.core.signals import got_request_exception
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.urls import include, path, reverse
from django.utils import timezone
from django.utils.html import escape, strip_tags
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter
from django.views.decorators.debug import sensitive_variables

from django_jwtauth import sessions, users
from django_jwtauth.admin import DenylistEntryAdmin, SessionAdmin, UserSessionsMixin, extend_stock_user_admin, wording
from django_jwtauth.admin import base as admin_base
from django_jwtauth.db import user_rows
from django_jwtauth.errors import RevokedTokenError
from django_jwtauth.jose.encoding import encode_id, new_id, read_id
from django_jwtauth.models import DenylistEntry, Reason, Session
from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.tokens.access import get_codec
from tests.support.statements import statements

ROOT = Path(__file__).parents[2]
SESSIONS = "/admin/jwtauth/session/"
DENYLIST = "/admin/jwtauth/denylistentry/"
ADD = f"{DENYLIST}add/"
YEAR_3000 = {"expires_at_0": "3000-01-01", "expires_at_1": "00:00:00"}

HOSTILE = [
    *("\0", "a\0b", "'", '"', "%", "_", "\\", "(", "[", "*", "<script>", "é", "😀", "\ud7ff", "１２", " ", "\n"),  # noqa: RUF001
    *(".", ":", "::", ":::", "192.0.2.", "1.2.3.4.5", "999.1.1.1", "fe80::1%eth0", "1.2.3.4/8", "::ffff:192.0.2.1"),
    *("-1", "0", "1e9", "9" * 19, "9" * 40, "9" * 5000, "NaN", "x" * 300, "x" * 60_000, "None", "null", "true"),
    *("A" * 22, "B" * 22, "=" * 22, "-" * 36, "0" * 32, "{" + "0" * 32 + "}", "urn:uuid:" + "0" * 32, "jrt_", "a.b.c"),
]


def in_an_hour():
    at = timezone.localtime(timezone.now() + timedelta(hours=1))
    return {"expires_at_0": at.strftime("%Y-%m-%d"), "expires_at_1": at.strftime("%H:%M:%S")}


def signed_in(user):
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def superuser(db):
    return get_user_model().objects.create_superuser("root", password="correct horse")


@pytest.fixture
def root(superuser):
    return signed_in(superuser)


@pytest.fixture
def staff(db):
    """Return a function that signs in a member of staff who has these permissions and no other."""

    def make(*codenames):
        member = get_user_model().objects.create_user("staff", password="correct horse")
        member.is_staff = True
        member.save()
        member.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return signed_in(member)

    return make


@pytest.fixture
def end():
    """Return a function that ends a session as its user does."""
    return lambda pair: sessions.revoke(pair.session, Reason.LOGOUT)


def text_of(answer):
    return answer.content.decode()


def words_of(answer):
    """What can be read on a page, in one line."""
    return " ".join(strip_tags(unescape(text_of(answer))).split())


def messages_of(answer):
    return [str(message) for message in get_messages(answer.wsgi_request)]


def shown(answer):
    """The primary keys of the rows on a list."""
    assert answer.status_code == HTTPStatus.OK, answer.headers.get("Location")
    return [row.pk for row in answer.context["cl"].result_list]


def found(client, page, **parameters):
    return shown(client.get(page, parameters))


def act(client, page, action, rows, confirmed=False, across=False, **more):
    data = {"action": action, ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows], "select_across": int(across)}
    return client.post(page, data | ({"post": "yes"} if confirmed else {"index": 0}) | more)


def hidden_fields(answer):
    form = text_of(answer).rpartition("<form")[2]
    fields = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form):
        fields.setdefault(name, []).append(value)
    return fields


def page_of(site, user, page="change"):
    """A page about a user, of one of the sites below."""
    opts = user._meta
    return reverse(f"{site}:{opts.app_label}_{opts.model_name}_{page}", args=[quote(user.pk)])


def make_sessions(user, count, **fields):
    now = timezone.now()
    values = {
        "access_expires_at": now + timedelta(minutes=10),
        "refreshed_at": now,
        "expires_at": now + timedelta(days=1),
        "ends_at": now + timedelta(days=2),
    }
    rows = [Session(user=user, auth_hash="x", **values | fields) for _ in range(count)]
    return Session.objects.bulk_create(rows, batch_size=500)


def make_entries(count, **fields):
    values = {"expires_at": timezone.now() + timedelta(hours=1), "reason": Reason.LOGOUT}
    rows = [DenylistEntry(value=new_id(), **values | fields) for _ in range(count)]
    DenylistEntry.objects.bulk_create(rows, batch_size=500)
    return list(DenylistEntry.objects.all())


def is_refused(client, pair):
    """Whether neither of the tokens is taken any more, over HTTP."""
    ping = client.get("/api/ping/", headers={"authorization": f"Bearer {pair.access_token}"})
    refresh = client.post("/auth/token/refresh/", {"refresh_token": pair.refresh_token}, format="json")
    assert ping.status_code == refresh.status_code
    return ping.status_code == HTTPStatus.UNAUTHORIZED


class TestSessionList:
    def test_a_row_says_who_from_where_and_in_which_state(self, root, user, pair):
        Session.objects.update(user_agent="Firefox on Linux", ip_address="192.0.2.7")
        refreshed = timezone.now() - timedelta(minutes=3, seconds=5)
        Session.objects.update(generation=1, refreshed_at=refreshed)
        page = root.get(SESSIONS)
        for words in (str(user), "Firefox on Linux, 192.0.2.7, refreshed 3 minutes ago", "live ends in 1 week, 6"):
            assert words in words_of(page)
        assert f'title="{timezone.localtime(refreshed):%Y-%m-%d %H:%M:%S} UTC"' in text_of(page)

    def test_a_client_that_was_not_recorded_has_a_row_too(self, root, pair):
        assert "unknown client, never refreshed" in words_of(root.get(SESSIONS))

    def test_no_page_shows_what_refresh_tokens_are_derived_from(self, root, user, pair):
        pair.session.refresh_from_db()
        pages = text_of(root.get(SESSIONS)) + text_of(root.get(f"{SESSIONS}{pair.session.pk}/change/"))
        assert pair.session.auth_hash not in pages
        assert str(bytes(pair.session.nonce)) not in pages
        assert bytes(pair.session.nonce).hex() not in pages
        assert "nonce" not in pages.lower().replace("nonce=", "")

    def test_states_and_reasons_are_told_apart(self, root, user):
        [live] = make_sessions(user, 1)
        [expired] = make_sessions(user, 1, expires_at=timezone.now() - timedelta(seconds=1))
        [left] = make_sessions(user, 1, revoked_at=timezone.now(), revoke_reason=Reason.LOGOUT)
        [stolen] = make_sessions(user, 1, revoked_at=timezone.now(), revoke_reason=Reason.REUSE)
        assert found(root, SESSIONS, state="live") == [live.pk]
        assert found(root, SESSIONS, state="expired") == [expired.pk]
        assert set(found(root, SESSIONS, state="revoked")) == {left.pk, stolen.pk}
        assert found(root, SESSIONS, reason="reuse") == [stolen.pk]
        assert len(found(root, SESSIONS, state="other", reason="other")) == 4
        page = words_of(root.get(SESSIONS))
        for words in (
            "revoked logged out, just",
            "revoked refresh token used twice, just",
            "expired just",
            "live ends",
        ):
            assert words in page

    def test_dates_filter(self, root, user):
        [old] = make_sessions(user, 1, created_at=timezone.now() - timedelta(days=40))
        [new] = make_sessions(user, 1)
        start = timezone.now() - timedelta(days=30)
        assert found(root, SESSIONS, created_at__gte=start.isoformat()) == [new.pk]
        assert found(root, SESSIONS, created_at__lt=start.isoformat()) == [old.pk]

    def test_the_newest_is_first_and_the_order_total(self, root, user):
        at = timezone.now()
        rows = make_sessions(user, 300, created_at=at) + make_sessions(user, 1, created_at=at + timedelta(seconds=1))
        first = found(root, SESSIONS)
        pages = first + found(root, SESSIONS, p=2) + found(root, SESSIONS, p=3) + found(root, SESSIONS, p=4)
        assert first[0] == rows[-1].pk
        assert sorted(pages) == sorted(row.pk for row in rows)

    def test_a_search_finds_the_user_by_name_and_key(self, root, pair, other_user):
        [other] = make_sessions(other_user, 1)
        name = other_user.get_username()
        assert found(root, SESSIONS, q=name) == [other.pk]
        assert found(root, SESSIONS, q=f" {name[:2].upper()} ") == [other.pk]
        assert other.pk in found(root, SESSIONS, q=str(other_user.pk))
        assert found(root, SESSIONS, q="nobody") == []

    def test_a_search_finds_a_session_by_either_spelling_of_its_id(self, root, pair, other_user):
        [other] = make_sessions(other_user, 1)
        for spelling in (other.sid, str(other.pk), str(other.pk).upper(), other.pk.hex):
            assert found(root, SESSIONS, q=spelling) == [other.pk]
        assert found(root, SESSIONS, q=encode_id(new_id())) == []

    def test_a_search_finds_addresses_and_what_they_begin_with(self, root, user):
        [four] = make_sessions(user, 1, ip_address="192.0.2.1")
        [near] = make_sessions(user, 1, ip_address="192.0.2.10")
        [six] = make_sessions(user, 1, ip_address="2001:db8::1")
        assert found(root, SESSIONS, q="192.0.2.1") == [four.pk]
        assert found(root, SESSIONS, q="::ffff:192.0.2.1") == [four.pk]
        assert set(found(root, SESSIONS, q="192.0.")) == {four.pk, near.pk}
        assert found(root, SESSIONS, q="2001:DB8:0::1") == [six.pk]
        assert found(root, SESSIONS, q="2001:DB8") == [six.pk]
        assert found(root, SESSIONS, q="2001:db8::") == [six.pk]
        assert found(root, SESSIONS, q="2001:db8:1::") == []

    @pytest.mark.parametrize("name", ["q", "user", "state", "reason", "created_at__gte", "created_at__lt", "p", "o"])
    def test_whatever_the_address_names_the_page_answers(self, root, pair, name):
        Session.objects.update(ip_address="192.0.2.1")
        for value in HOSTILE:
            assert root.get(SESSIONS, {name: value}, follow=True).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize(
        "bound", ["created_at__gte=0001-01-01 00:00:00+14:00", "created_at__lt=9999-12-31 23:59:59-12:00"]
    )
    def test_a_moment_outside_of_the_calendar_is_no_error(self, root, bound, settings, use_tz):
        settings.USE_TZ = use_tz
        name, _, value = bound.partition("=")
        answer = root.get(SESSIONS, {name: value})
        assert answer.status_code in {HTTPStatus.OK, HTTPStatus.FOUND}

    @pytest.mark.parametrize(
        "lookup", ["auth_hash__startswith", "nonce", "user__password__startswith", "user_agent__regex", "user__exact"]
    )
    def test_an_address_cannot_filter_by_what_the_page_does_not(self, root, pair, lookup):
        assert root.get(SESSIONS, {lookup: "x"}).status_code == HTTPStatus.BAD_REQUEST

    def test_the_filter_by_user_names_the_user_and_can_be_lifted(self, root, user, pair, other_user):
        [other] = make_sessions(other_user, 1)
        assert found(root, SESSIONS, user=str(other_user.pk)) == [other.pk]
        assert found(root, SESSIONS, user="nobody") == []
        assert "Clear all filters" in text_of(root.get(SESSIONS, {"user": str(other_user.pk)}))
        assert "By user" not in text_of(root.get(SESSIONS))

    @pytest.mark.parametrize(
        "page", [{}, {"q": "alice"}, {"state": "live"}, {"p": 5}, {"created_at__gte": "2000-01-01T00:00Z"}]
    )
    def test_a_thousand_sessions_take_few_statements(self, root, user, page):
        make_sessions(user, 1_000)
        with statements() as executed:
            assert len(found(root, SESSIONS, **page)) == 100
        assert len(executed) < 12

    def test_it_is_not_for_those_without_permission(self, staff, pair):
        assert staff().get(SESSIONS).status_code == HTTPStatus.FORBIDDEN

    def test_it_is_not_for_those_who_are_no_staff(self, user, pair):
        answer = signed_in(user).get(SESSIONS)
        assert answer.status_code == HTTPStatus.FOUND
        assert answer.headers["Location"].startswith("/admin/login/")


class TestSessionPage:
    def test_it_shows_a_session_and_offers_nothing(self, root, user, pair):
        page = text_of(root.get(f"{SESSIONS}{pair.session.pk}/change/"))
        assert pair.session.sid in page
        assert 'type="submit" value' not in page
        assert "deletelink" not in page

    @pytest.mark.parametrize("page", ["{pk}/change/", "{pk}/delete/", "add/"])
    def test_nothing_can_be_written(self, root, pair, page):
        before = Session.objects.values().get()
        answer = root.post(SESSIONS + page.format(pk=pair.session.pk), {"post": "yes", "generation": 7})
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert Session.objects.values().get() == before

    @pytest.mark.parametrize("page", ["", "?_to_field="])
    def test_no_name_of_a_field_to_find_a_row_by_is_none(self, root, pair, page):
        change = f"{SESSIONS}{pair.session.pk}/change/"
        assert root.get(change + page).status_code == HTTPStatus.OK
        assert root.post(change + page, {"_to_field": ""}).status_code == HTTPStatus.FORBIDDEN

    @pytest.mark.parametrize("key", ["", "x", "a\0b", "-1", "9" * 19, "9" * 40, "9" * 5000, "A" * 22, "é"])
    @pytest.mark.parametrize(("page", "action"), [(SESSIONS, "revoke_selected"), (DENYLIST, "allow_again")])
    @pytest.mark.parametrize("confirmed", [False, True])
    def test_a_selection_of_what_is_no_key_does_nothing(self, root, pair, page, action, confirmed, key):
        [entry] = make_entries(1)
        answer = act(root, page, action, [SimpleNamespace(pk=key)], confirmed)
        assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        assert Session.objects.live().get() == pair.session
        assert DenylistEntry.objects.get() == entry

    def test_sessions_cannot_be_deleted_from_the_list(self, root, pair):
        assert "delete_selected" not in text_of(root.get(SESSIONS))
        act(root, SESSIONS, "delete_selected", [pair.session], confirmed=True)
        assert Session.objects.exists()

    def test_it_has_a_history(self, root, pair):
        act(root, SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert "Revoked." in text_of(root.get(f"{SESSIONS}{pair.session.pk}/history/"))


class TestDeletingAUser:
    """The admin asks every related row's page whether the row may be deleted."""

    @pytest.fixture(autouse=True)
    def _registered(self, settings):
        settings.ROOT_URLCONF = __name__

    def test_sessions_go_with_their_user(self, staff, user, pair):
        helper = staff(user_permission("delete"), user_permission("view"))
        answer = helper.post(page_of("own", user, "delete"), {"post": "yes"})
        assert answer.status_code == HTTPStatus.FOUND
        assert not get_user_model().objects.filter(pk=user.pk).exists()
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    def test_who_may_not_delete_users_may_not_delete_sessions(self, staff, pair, rf):
        helper = staff("delete_session", "change_session", "view_session")
        assert helper.post(f"{SESSIONS}{pair.session.pk}/delete/", {"post": "yes"}).status_code == HTTPStatus.FORBIDDEN
        request = rf.get("/")
        request.user = get_user_model().objects.get(**{get_user_model().USERNAME_FIELD: "staff"})
        assert not admin.site._registry[Session].has_delete_permission(request, pair.session)


class TestRevokingSelectedSessions:
    def test_it_asks_first(self, root, user, pair):
        answer = act(root, SESSIONS, "revoke_selected", [pair.session])
        page = text_of(answer)
        assert answer.status_code == HTTPStatus.OK
        assert escape(user) in page
        assert "refused everywhere within 5 seconds" in page
        assert pair.session.pk in found(root, SESSIONS, state="live")
        assert not LogEntry.objects.exists()

    def test_confirmed_it_ends_the_sessions(self, root, client, user, pair):
        spared = sessions.start(user)
        asked = act(root, SESSIONS, "revoke_selected", [pair.session])
        answer = root.post(SESSIONS, hidden_fields(asked))
        assert answer.status_code == HTTPStatus.FOUND
        assert messages_of(answer) == ["1 session was revoked. Access tokens are refused everywhere within 5 seconds."]
        assert is_refused(client, pair)
        assert not is_refused(client, spared)
        pair.session.refresh_from_db()
        assert pair.session.revoke_reason == Reason.ADMIN

    def test_it_is_logged_for_each_session_that_it_ended(self, root, superuser, user, pair, end):
        ended = sessions.start(user)
        end(ended)
        yesterday = timezone.now() - timedelta(days=1)
        [expired] = make_sessions(user, 1, expires_at=yesterday, access_expires_at=yesterday)
        answer = act(root, SESSIONS, "revoke_selected", [pair.session, ended.session, expired], confirmed=True)
        [entry] = LogEntry.objects.all()
        assert (entry.user, entry.action_flag, entry.object_id) == (superuser, CHANGE, str(pair.session.pk))
        assert (entry.object_repr, entry.get_change_message()) == (pair.session.sid, "Revoked.")
        assert messages_of(answer)[0].startswith("1 session ")
        expired.refresh_from_db()
        ended.session.refresh_from_db()
        assert expired.revoked_at is None
        assert ended.session.revoke_reason == Reason.LOGOUT

    def test_it_says_how_long_it_takes(self, root, pair, jwtauth):
        jwtauth(DENYLIST_INTERVAL=timedelta(seconds=1))
        answer = act(root, SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert messages_of(answer)[0].endswith("within 1 second.")

    def test_everything_across_pages_can_be_selected(self, root, user, other_user):
        [other] = make_sessions(other_user, 1)
        rows = make_sessions(user, 10_000)
        page = f"{SESSIONS}?{urlencode({'user': user.pk, 'state': 'live'})}"
        asked = act(root, page, "revoke_selected", rows[:100], across=True)
        assert "and 9980 more" in text_of(asked)
        answer = root.post(page, hidden_fields(asked))
        assert answer.status_code == HTTPStatus.FOUND
        assert messages_of(answer)[0].startswith("10000 sessions ")
        assert list(Session.objects.live()) == [other]
        assert DenylistEntry.objects.count() == LogEntry.objects.count() == 10_000

    def test_the_action_whose_button_was_pushed_is_done_where_there_are_two(self, root, pair, monkeypatch):
        monkeypatch.setattr(SessionAdmin, "actions_on_bottom", True)
        chosen = {"action": ["", "revoke_selected"], "index": 1, ACTION_CHECKBOX_NAME: [str(pair.session.pk)]}
        asked = root.post(SESSIONS, chosen)
        assert messages_of(root.post(SESSIONS, hidden_fields(asked)))[0].startswith("1 session ")
        assert not Session.objects.live().exists()

    def test_who_may_only_look_has_no_action(self, staff, pair):
        viewer = staff("view_session")
        page = text_of(viewer.get(SESSIONS))
        assert "revoke_selected" not in page
        act(viewer, SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert Session.objects.live().exists()

    def test_who_may_change_sessions_may(self, staff, client, pair):
        act(staff("change_session"), SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert is_refused(client, pair)

    def test_without_any_permission_it_is_forbidden(self, staff, pair):
        answer = act(staff(), SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert Session.objects.live().exists()

    def test_another_site_cannot_post_it(self, superuser, pair):
        client = Client(enforce_csrf_checks=True)
        client.force_login(superuser, "django.contrib.auth.backends.ModelBackend")
        answer = act(client, SESSIONS, "revoke_selected", [pair.session], confirmed=True)
        assert answer.status_code == HTTPStatus.FORBIDDEN


class TestDenylistList:
    def test_a_row_says_what_is_denied_and_why(self, root):
        [entry] = make_entries(1, user_id="7", reason=Reason.PASSWORD)
        page = words_of(root.get(DENYLIST))
        for words in (encode_id(entry.value), "a session of user 7, denied just now", "password changed"):
            assert words in page

    def test_a_row_of_a_token_alone_names_no_user(self, root):
        make_entries(1, claim="jti", denied_at=timezone.now() - timedelta(hours=5))
        assert "one access token, denied 5 hours ago" in words_of(root.get(DENYLIST))

    def test_a_search_finds_ids_and_users(self, root):
        first, second = make_entries(2)
        DenylistEntry.objects.filter(pk=second.pk).update(user_id="x-7")
        for spelling in (encode_id(first.value), str(first.value)):
            assert found(root, DENYLIST, q=spelling) == [first.pk]
        assert found(root, DENYLIST, q="x-7") == [second.pk]
        assert found(root, DENYLIST, q="x-") == []

    def test_reasons_and_dates_filter(self, root):
        make_entries(1, denied_at=timezone.now() - timedelta(days=40))
        make_entries(1, reason=Reason.REUSE)
        stolen = DenylistEntry.objects.get(reason=Reason.REUSE)
        assert found(root, DENYLIST, reason="reuse") == [stolen.pk]
        start = timezone.now() - timedelta(days=30)
        assert found(root, DENYLIST, denied_at__gte=start.isoformat()) == [stolen.pk]

    @pytest.mark.parametrize("name", ["q", "reason", "denied_at__gte"])
    def test_whatever_the_address_names_the_page_answers(self, root, name):
        make_entries(1)
        for value in HOSTILE:
            assert root.get(DENYLIST, {name: value}, follow=True).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("page", [{}, {"q": "7"}, {"reason": "logout"}, {"p": 5}])
    def test_a_thousand_entries_take_few_statements(self, root, page):
        make_entries(1_000, user_id="7")
        with statements() as executed:
            assert len(found(root, DENYLIST, **page)) == 100
        assert len(executed) < 12

    def test_an_entry_can_be_looked_at_and_not_changed(self, root):
        [entry] = make_entries(1)
        page = f"{DENYLIST}{entry.pk}/change/"
        shown = text_of(root.get(page))
        assert encode_id(entry.value) in shown
        assert 'name="token"' not in shown
        assert "deletelink" not in shown
        assert root.post(page, {"reason": "reuse"}).status_code == HTTPStatus.FORBIDDEN
        assert root.post(f"{DENYLIST}{entry.pk}/delete/", {"post": "yes"}).status_code == HTTPStatus.FORBIDDEN
        assert list(DenylistEntry.objects.values_list("reason", flat=True)) == ["logout"]

    def test_it_is_not_for_those_without_permission(self, staff):
        assert staff("view_session").get(DENYLIST).status_code == HTTPStatus.FORBIDDEN


class TestAddingToTheDenylist:
    @pytest.fixture
    def add(self, root):
        """Return a function that posts the form, and sees to it that what was pasted does not come back."""

        def post(pasted, client=root, **more):
            answer = client.post(ADD, {"token": pasted, **more})
            assert pasted not in answer.headers.get("Location", "")
            assert pasted not in " ".join(messages_of(answer))
            assert pasted not in text_of(answer)
            if len(pasted) > 36:
                # It is no id, which the list of what is denied shows.
                assert pasted not in text_of(client.get(DENYLIST)) + text_of(client.get("/admin/"))
                for entry in LogEntry.objects.all():
                    assert pasted not in f"{entry.object_id} {entry.object_repr} {entry.change_message}"
            return answer

        return post

    @pytest.fixture
    def errors(self, add):
        """Return a function that posts the form and returns what is said against it, by field."""

        def post(pasted, **more):
            before = Session.objects.live().count(), DenylistEntry.objects.count()
            answer = add(pasted, **more)
            assert answer.status_code == HTTPStatus.OK
            assert (Session.objects.live().count(), DenylistEntry.objects.count()) == before
            assert not LogEntry.objects.exists()
            return {name: " ".join(told) for name, told in answer.context["adminform"].form.errors.items()}

        return post

    def pasted(self, pair, what):
        return {
            "a refresh token": pair.refresh_token,
            "an access token": pair.access_token,
            "a sid": pair.session.sid,
            "a sid as a UUID": str(pair.session.pk),
            "a token with blanks around it": f"  {pair.access_token}\n",
        }[what]

    @pytest.mark.parametrize(
        "what",
        ["a refresh token", "an access token", "a sid", "a sid as a UUID", "a token with blanks around it"],
    )
    def test_it_ends_the_session_of(self, add, client, superuser, user, pair, what):
        spared = sessions.start(user)
        answer = add(self.pasted(pair, what))
        assert answer.status_code == HTTPStatus.FOUND
        assert answer.headers["Location"] == DENYLIST
        assert messages_of(answer) == ["1 session was revoked. Access tokens are refused everywhere within 5 seconds."]
        assert is_refused(client, pair)
        assert not is_refused(client, spared)
        entry = DenylistEntry.objects.get()
        assert (entry.claim, entry.value, entry.reason) == ("sid", pair.session.pk, Reason.ADMIN)
        assert entry.user_id == str(user.pk)
        logged = LogEntry.objects.get()
        assert (logged.user, logged.action_flag, logged.object_id) == (superuser, ADDITION, str(entry.pk))

    def test_a_refresh_token_of_any_generation_ends_the_session(self, add, client, pair):
        newest = sessions.refresh(pair.refresh_token)
        add(pair.refresh_token)
        assert is_refused(client, newest)

    def test_an_expiry_given_for_a_session_is_of_no_account(self, add, client, pair):
        assert add(pair.refresh_token, **YEAR_3000).status_code == HTTPStatus.FOUND
        entry, session = DenylistEntry.objects.get(), Session.objects.get()
        assert entry.expires_at == session.access_expires_at

    def test_a_jti_denies_one_token_until_its_expiry(self, add, client, pair):
        other = sessions.refresh(pair.refresh_token)
        jti = sessions.verify(pair.access_token).jti
        answer = add(jti, **in_an_hour())
        assert messages_of(answer) == ["The access token is refused everywhere within 5 seconds."]
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)
        sessions.verify(other.access_token)
        entry = DenylistEntry.objects.get()
        assert (entry.claim, encode_id(entry.value), entry.reason, entry.user_id) == ("jti", jti, Reason.ADMIN, "")
        assert abs(entry.expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)
        assert LogEntry.objects.get().object_id == str(entry.pk)

    def test_a_jti_denied_again_is_denied_for_longer_and_never_for_less(self, add):
        jti = encode_id(new_id())
        add(jti, **in_an_hour())
        known, first = DenylistEntry.objects.values_list("pk", "expires_at").get()
        DenylistEntry.objects.update(expires_at=first - timedelta(minutes=50))
        add(jti, **in_an_hour())
        assert DenylistEntry.objects.get().expires_at >= first
        # A process that knows the old one would otherwise take it for read by all.
        assert DenylistEntry.objects.get().pk != known
        DenylistEntry.objects.update(expires_at=first + timedelta(days=1))
        add(jti, **in_an_hour())
        assert DenylistEntry.objects.get().expires_at == first + timedelta(days=1)

    def test_a_jti_without_expiry_is_asked_for_it(self, errors):
        told = errors(encode_id(new_id()))
        assert list(told) == ["expires_at"]
        assert "say when that token expires" in told["expires_at"]

    @pytest.mark.parametrize(
        ("day", "told"),
        [("2000-01-01", "has expired"), ("3000-01-01", "more than a year"), ("9999-12-31", "more than a year")],
    )
    def test_a_jti_with_an_impossible_expiry_is_refused(self, errors, day, told):
        answer = errors(encode_id(new_id()), expires_at_0=day, expires_at_1="00:00:00")
        assert told in answer["expires_at"]

    def test_a_jti_may_be_denied_for_as_long_as_access_tokens_live(self, add, jwtauth):
        jwtauth(ACCESS_TOKEN_LIFETIME=timedelta(days=500))
        add(
            encode_id(new_id()),
            expires_at_0=f"{timezone.now() + timedelta(days=499):%Y-%m-%d}",
            expires_at_1="00:00:00",
        )
        assert DenylistEntry.objects.exists()

    @pytest.mark.parametrize(("day", "time"), [("yesterday", "noon"), ("2000-01-01", ""), ("", "12:00"), ("\0", "\0")])
    def test_a_jti_with_half_an_expiry_is_refused_once(self, errors, day, time):
        told = errors(encode_id(new_id()), expires_at_0=day, expires_at_1=time)
        assert list(told) == ["expires_at"]
        assert "say when" not in told["expires_at"]

    def test_garbage_is_refused(self, root):
        for garbage in HOSTILE:
            answer = root.post(ADD, {"token": garbage})
            assert answer.status_code == HTTPStatus.OK
            expected = "token" if read_id(garbage.strip()) is None else "expires_at"
            assert list(answer.context["adminform"].form.errors) == [expected]
        assert not DenylistEntry.objects.exists()

    @pytest.mark.parametrize("nothing", [{}, {"token": ""}, {"token": "  "}])
    def test_nothing_is_refused(self, root, nothing):
        answer = root.post(ADD, nothing)
        assert list(answer.context["adminform"].form.errors) == ["token"]

    def test_a_forged_refresh_token_is_refused(self, errors, pair):
        forged = refresh_tokens.derive(pair.session.pk, 0, b"another nonce")
        assert "Not recognised" in errors(forged)["token"]

    def test_a_forged_access_token_is_refused(self, errors, pair):
        head, _, signature = pair.access_token.rpartition(".")
        assert "Not recognised" in errors(f"{head}.{signature[::-1]}")["token"]

    def test_a_token_of_another_issuer_is_refused(self, errors, user, jwtauth):
        jwtauth(ISSUER="https://elsewhere.example")
        foreign = sessions.start(user)
        jwtauth(ISSUER="https://here.example")
        assert "Not recognised" in errors(foreign.access_token)["token"]

    def test_an_expired_access_token_is_refused(self, errors, pair):
        claims = sessions.verify(pair.access_token)
        old = {"iss": claims.iss, "sub": claims.sub, "aud": claims.aud[0], "jti": claims.jti, "sid": claims.sid}
        expired = get_codec().encode({**old, "iat": 1_000_000_000, "exp": 1_000_000_600})
        assert "An expired token is refused" in errors(expired)["token"]

    def test_the_refresh_token_of_an_expired_session_is_refused(self, errors, pair):
        Session.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert "An expired token is refused" in errors(pair.refresh_token)["token"]

    def test_an_access_token_whose_session_is_gone_is_refused(self, errors, pair):
        Session.objects.all().delete()
        assert "token" in errors(pair.access_token)

    @pytest.mark.parametrize("what", ["a refresh token", "an access token", "a sid"])
    def test_a_session_that_ended_is_on_the_list_already(self, errors, pair, end, what):
        end(pair)
        assert "is on the denylist already" in errors(self.pasted(pair, what))["token"]

    def test_a_session_that_ended_and_has_no_token_left_needs_no_entry(self, errors, pair):
        long_ago = timezone.now() - timedelta(days=1)
        Session.objects.update(revoked_at=long_ago, revoke_reason=Reason.LOGOUT, access_expires_at=long_ago)
        assert "so has its last access token" in errors(pair.refresh_token)["token"]

    @pytest.mark.parametrize("what", ["a refresh token", "an access token", "a sid"])
    def test_a_session_whose_entry_was_lifted_is_denied_again(self, add, root, client, pair, end, what):
        end(pair)
        act(root, DENYLIST, "allow_again", DenylistEntry.objects.all(), confirmed=True)
        assert add(self.pasted(pair, what)).status_code == HTTPStatus.FOUND
        assert DenylistEntry.objects.get().value == pair.session.pk
        assert is_refused(client, pair)
        pair.session.refresh_from_db()
        assert pair.session.revoke_reason == Reason.LOGOUT

    @pytest.mark.parametrize("value", ["x", "", "9" * 5000, "2030-01-01 00:00:00"])
    def test_it_takes_no_expiry_from_its_address_either(self, root, value):
        answer = root.get(ADD, {"expires_at": value})
        assert answer.status_code == HTTPStatus.OK
        assert "2030" not in text_of(answer)

    def test_the_page_does_not_take_a_token_from_its_address(self, root, pair):
        page = text_of(root.get(ADD, {"token": pair.refresh_token}))
        assert pair.refresh_token not in page.replace(urlencode({"token": pair.refresh_token}), "")
        assert 'autocomplete="off"' in page

    def test_reports_of_errors_do_not_show_it(self, root, pair, monkeypatch):
        seen = {}

        def fail(self, request, *args, **kwargs):
            seen.update(SafeExceptionReporterFilter().get_post_parameters(request))
            raise RuntimeError

        monkeypatch.setattr(DenylistEntryAdmin, "save_model", fail)
        with pytest.raises(RuntimeError):
            root.post(ADD, {"token": pair.refresh_token})
        assert seen["token"] != pair.refresh_token

    def test_neither_do_they_where_looking_for_its_session_fails(self, root, pair, monkeypatch):
        reports = []

        def fail(token):
            raise RuntimeError

        def report(sender, request, **kwargs):
            reports.append(ExceptionReporter(request, *sys.exc_info()).get_traceback_html())

        # The function that fails is the test's own, and shows what it was given.
        monkeypatch.setattr(sessions, "find", sensitive_variables()(fail))
        got_request_exception.connect(report)
        try:
            with pytest.raises(RuntimeError):
                root.post(ADD, {"token": pair.refresh_token})
        finally:
            got_request_exception.disconnect(report)
        assert "in clean" in reports[0]
        assert pair.refresh_token not in reports[0]

    def test_adding_is_enough_to_end_a_session(self, staff, client, pair):
        answer = staff("add_denylistentry").post(ADD, {"token": pair.refresh_token})
        assert answer.headers["Location"] == "/admin/"
        assert is_refused(client, pair)

    def test_who_may_not_add_may_not(self, staff, pair):
        answer = staff("view_denylistentry", "change_denylistentry", "delete_denylistentry", "change_session").post(
            ADD, {"token": pair.refresh_token}
        )
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert Session.objects.live().exists()


class TestAllowingAgain:
    def test_it_asks_first_and_says_what_it_does_not_do(self, root):
        entries = make_entries(1)
        page = text_of(act(root, DENYLIST, "allow_again", entries))
        assert "lifts the entries only" in page
        assert "stays ended" in page
        assert encode_id(entries[0].value) in page
        assert DenylistEntry.objects.exists()

    def test_confirmed_it_lifts_the_entry_and_the_session_stays_ended(self, root, client, superuser, pair):
        sessions.revoke(pair.session)
        entry = DenylistEntry.objects.get()
        asked = act(root, DENYLIST, "allow_again", [entry])
        answer = root.post(DENYLIST, hidden_fields(asked))
        assert messages_of(answer) == ["1 entry was lifted. Sessions that have ended stay ended."]
        assert not DenylistEntry.objects.exists()
        refresh = client.post("/auth/token/refresh/", {"refresh_token": pair.refresh_token}, format="json")
        assert refresh.status_code == HTTPStatus.UNAUTHORIZED
        logged = LogEntry.objects.get()
        assert (logged.user, logged.action_flag, logged.object_id) == (superuser, DELETION, str(entry.pk))
        assert logged.object_repr == encode_id(entry.value)

    def test_everything_across_pages_can_be_selected(self, root):
        entries = make_entries(3000)
        page = f"{DENYLIST}?reason=logout"
        asked = act(root, page, "allow_again", entries[:100], across=True)
        answer = root.post(page, hidden_fields(asked))
        assert messages_of(answer)[0].startswith("3000 entries were lifted.")
        assert LogEntry.objects.count() == 3000

    def test_it_replaces_deletion(self, root):
        entries = make_entries(1)
        page = text_of(root.get(DENYLIST))
        assert "delete_selected" not in page
        assert "Allow again" in page
        act(root, DENYLIST, "delete_selected", entries, confirmed=True)
        assert DenylistEntry.objects.exists()

    def test_who_may_only_look_may_not(self, staff):
        viewer, entries = staff("view_denylistentry"), make_entries(1)
        assert "allow_again" not in text_of(viewer.get(DENYLIST))
        act(viewer, DENYLIST, "allow_again", entries, confirmed=True)
        assert DenylistEntry.objects.exists()

    def test_who_may_delete_may(self, staff):
        deleter, entries = staff("view_denylistentry", "delete_denylistentry"), make_entries(1)
        act(deleter, DENYLIST, "allow_again", entries, confirmed=True)
        assert not DenylistEntry.objects.exists()


class OwnUserAdmin(UserSessionsMixin, admin.ModelAdmin):
    fields = ("password",)


class PickyUserAdmin(OwnUserAdmin):
    """Hides one user and keeps another from being changed."""

    def get_queryset(self, request):
        name = get_user_model().USERNAME_FIELD
        return super().get_queryset(request).exclude(**{name: "hidden"})

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (obj is None or obj.get_username() != "bob")


class OddKeysAdmin(OwnUserAdmin):
    """Users whose keys are anything but numbers."""

    asked_for: list

    def get_object(self, request, object_id, from_field=None):
        self.asked_for.append(object_id)


def site_with(name, user_admin, *models):
    site = admin.AdminSite(name=name)
    site.register(get_user_model(), user_admin)
    for model in models:
        site.register(model, type(admin.site._registry[model]))
    return site


own = site_with("own", OwnUserAdmin, Session, DenylistEntry)
picky = site_with("picky", PickyUserAdmin, Session)
alone = site_with("alone", OwnUserAdmin)
odd = site_with("odd", OddKeysAdmin)

urlpatterns = [
    path("own/", own.urls),
    path("picky/", picky.urls),
    path("alone/", alone.urls),
    path("odd/", odd.urls),
    path("admin/", admin.site.urls),
    path("", include("config.urls")),
]


def user_permission(action):
    return f"{action}_{get_user_model()._meta.model_name}"


class TestUserPage:
    @pytest.fixture(autouse=True)
    def _urls(self, settings):
        settings.ROOT_URLCONF = __name__

    def test_it_has_a_link_to_the_sessions_of_the_user(self, root, user, pair, other_user):
        make_sessions(other_user, 1)
        [link] = re.findall(r'href="([^"]*/session/[^"]*user=[^"]*)"', text_of(root.get(page_of("own", user))))
        assert link.startswith("/own/jwtauth/session/")
        assert shown(root.get(link)) == [pair.session.pk]

    def test_the_button_asks_first(self, root, user, pair):
        button = page_of("own", user, "revoke_sessions")
        assert f'href="{escape(button)}"' in text_of(root.get(page_of("own", user)))
        page = text_of(root.get(button))
        assert "1 live session" in page
        assert f'href="{escape(page_of("own", user))}"' in page
        assert root.post(button).status_code == HTTPStatus.OK
        assert Session.objects.live().exists()

    def test_confirmed_it_ends_all_sessions_of_the_user(self, root, client, superuser, user, pair, other_user):
        second, other = sessions.start(user), sessions.start(other_user)
        answer = root.post(page_of("own", user, "revoke_sessions"), {"post": "yes"})
        assert answer.status_code == HTTPStatus.FOUND
        assert answer.headers["Location"] == page_of("own", user)
        assert messages_of(answer)[0].startswith("2 sessions were revoked. Access tokens are refused ")
        assert is_refused(client, pair)
        assert is_refused(client, second)
        assert not is_refused(client, other)
        entry = LogEntry.objects.get()
        assert (entry.user, entry.action_flag, entry.object_id) == (superuser, CHANGE, str(user.pk))
        assert entry.get_change_message() == "Revoked all API sessions."
        assert root.get(answer.headers["Location"]).status_code == HTTPStatus.OK

    def test_who_may_not_see_sessions_sees_neither(self, staff, user, pair):
        helper = staff(user_permission("change"))
        page = text_of(helper.get(page_of("own", user)))
        assert "API sessions" not in page
        assert "Revoke all sessions" not in page
        for method in (helper.get, helper.post):
            answer = method(page_of("own", user, "revoke_sessions"), {"post": "yes"})
            assert answer.status_code == HTTPStatus.FORBIDDEN
        assert Session.objects.live().exists()

    def test_who_may_view_sessions_sees_the_link(self, staff, user, pair):
        page = text_of(staff(user_permission("view"), "view_session").get(page_of("own", user)))
        assert "API sessions" in page
        assert "Revoke all sessions" not in page

    def test_who_may_not_change_the_user_may_not_revoke(self, staff, user, pair):
        helper = staff(user_permission("view"), "change_session")
        assert "Revoke all sessions" not in text_of(helper.get(page_of("own", user)))
        answer = helper.post(page_of("own", user, "revoke_sessions"), {"post": "yes"})
        assert answer.status_code == HTTPStatus.FORBIDDEN

    def test_what_the_project_says_of_its_users_is_respected(self, root, other_user, user):
        assert "Revoke all sessions" not in text_of(root.get(page_of("picky", other_user)))
        assert "Revoke all sessions" in text_of(root.get(page_of("picky", user)))
        assert root.get(page_of("picky", other_user, "revoke_sessions")).status_code == HTTPStatus.FORBIDDEN
        hidden = get_user_model().objects.create_user("hidden", password="correct horse")
        assert root.get(page_of("picky", hidden, "revoke_sessions")).status_code == HTTPStatus.NOT_FOUND

    @pytest.mark.parametrize("key", ["", "0", "-1", "x", "_", "9" * 40, "%00", "a/b", "é"])
    def test_a_user_who_does_not_exist_is_not_found(self, root, key):
        page = page_of("own", SimpleNamespace(pk=key or "0", _meta=get_user_model()._meta), "revoke_sessions")
        assert root.get(page).status_code == HTTPStatus.NOT_FOUND

    @pytest.mark.parametrize("key", ["a/b", "a_b", "_2F", "a b", "é?#&%", '"<x>"', "a:b;c", "../x"])
    def test_any_key_finds_its_page(self, root, key):
        odd_admin = odd._registry[get_user_model()]
        odd_admin.asked_for = []
        user = SimpleNamespace(pk=key, _meta=get_user_model()._meta)
        assert odd_admin._url(user, "revoke_sessions") == page_of("odd", user, "revoke_sessions")
        root.get(page_of("odd", user, "revoke_sessions"))
        assert odd_admin.asked_for == [key]

    def test_a_site_without_sessions_has_the_button_only(self, root, client, user, pair):
        page = text_of(root.get(page_of("alone", user)))
        assert "API sessions" not in page
        assert "Revoke all sessions" in page
        root.post(page_of("alone", user, "revoke_sessions"), {"post": "yes"})
        assert is_refused(client, pair)

    def test_the_page_that_adds_a_user_has_neither(self, root):
        opts = get_user_model()._meta
        answer = root.get(reverse(f"own:{opts.app_label}_{opts.model_name}_add"))
        assert answer.status_code == HTTPStatus.OK
        assert "Revoke all sessions" not in text_of(answer)

    def test_a_template_of_the_project_is_extended(self, root, user, monkeypatch):
        monkeypatch.setattr(OwnUserAdmin, "change_form_template", "admin/auth/user/add_form.html")
        answer = root.get(page_of("own", user))
        assert "Revoke all sessions" in text_of(answer)
        assert "admin/auth/user/add_form.html" in [template.name for template in answer.templates]


@pytest.mark.skipif(get_user_model()._meta.label != "auth.User", reason="Django's own user model")
class TestStockUserAdmin:
    @pytest.fixture(autouse=True)
    def _as_it_was(self):
        before = dict(admin.site._registry)
        yield
        admin.site._registry.clear()
        admin.site._registry.update(before)

    def test_it_has_link_and_button_by_itself(self, root, user, pair):
        page = text_of(root.get(f"/admin/auth/user/{user.pk}/change/"))
        assert f'href="/admin/jwtauth/session/?user={user.pk}"' in page
        assert f'href="/admin/auth/user/{user.pk}/revoke-sessions/"' in page
        assert root.get("/admin/auth/user/add/").status_code == HTTPStatus.OK
        assert root.get(f"/admin/auth/user/{user.pk}/password/").status_code == HTTPStatus.OK

    def test_a_project_can_register_its_own_later(self):
        admin.site.unregister(get_user_model())
        admin.site.register(get_user_model(), OwnUserAdmin)
        extend_stock_user_admin()
        assert type(admin.site._registry[get_user_model()]) is OwnUserAdmin

    def test_a_subclass_of_the_stock_one_is_left_alone(self):
        class Own(UserAdmin):
            pass

        admin.site.unregister(get_user_model())
        admin.site.register(get_user_model(), Own)
        extend_stock_user_admin()
        assert type(admin.site._registry[get_user_model()]) is Own

    def test_no_user_admin_is_made_where_there_is_none(self):
        admin.site.unregister(get_user_model())
        extend_stock_user_admin()
        assert get_user_model() not in admin.site._registry

    def test_without_discovery_djangos_module_is_not_loaded(self, monkeypatch):
        config = SimpleAdminConfig("django.contrib.admin", sys.modules["django.contrib.admin"])
        monkeypatch.setitem(apps.app_configs, "admin", config)
        monkeypatch.delitem(sys.modules, "django.contrib.auth.admin")
        admin.site.unregister(get_user_model())
        extend_stock_user_admin()
        assert "django.contrib.auth.admin" not in sys.modules
        assert get_user_model() not in admin.site._registry

    @pytest.mark.parametrize("apps_first", [True, False])
    @pytest.mark.parametrize("discovers", [True, False])
    def test_the_order_of_the_apps_does_not_matter(self, apps_first, discovers):
        auth = ["django.contrib.auth"]
        order = [*([] if apps_first else auth), "django_jwtauth", *(auth if apps_first else [])]
        config = "AdminConfig" if discovers else "SimpleAdminConfig"
        script = f"""if True:
            from django.conf import settings
            import django
            settings.configure(
                SECRET_KEY="x" * 50, USE_TZ=True, DATABASES={{}},
                INSTALLED_APPS=[
                    "django.contrib.admin.apps.{config}", *{order!r},
                    "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
                ],
            )
            django.setup()
            from django.contrib import admin
            import django_jwtauth.admin
            from django.contrib.auth.models import User
            registered = admin.site._registry.get(User)
            print(isinstance(registered, django_jwtauth.admin.UserSessionsMixin))
        """
        ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == str(discovers)

    def test_neither_does_that_of_the_app_of_the_user_model(self, tmp_path):
        app = tmp_path / "members"
        app.mkdir()
        (app / "__init__.py").touch()
        (app / "models.py").write_text(
            "from django.contrib.auth.models import AbstractUser\nclass Member(AbstractUser):\n    pass\n"
        )
        (app / "admin.py").write_text(
            "from django.contrib import admin\nfrom django.contrib.auth.admin import UserAdmin\n"
            "from .models import Member\nadmin.site.register(Member, UserAdmin)\n"
        )
        script = """if True:
            from django.conf import settings
            import django
            settings.configure(
                SECRET_KEY="x" * 50, USE_TZ=True, DATABASES={}, AUTH_USER_MODEL="members.Member",
                INSTALLED_APPS=[
                    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.sessions", "django.contrib.messages", "django_jwtauth", "members",
                ],
            )
            django.setup()
            from django.contrib import admin
            from django_jwtauth.admin import UserSessionsMixin
            from members.models import Member
            print(isinstance(admin.site._registry[Member], UserSessionsMixin))
        """
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == "True"


class TestEstimatingPaginator:
    class Estimating:
        """A connection that says it is one to PostgreSQL."""

        vendor = "postgresql"
        ops = connection.ops

        def __init__(self, estimate):
            self.estimate = estimate

        def cursor(self):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def execute(self, statement, parameters):
            self.parameters = parameters

        def fetchone(self):
            return (self.estimate,)

    @pytest.fixture
    def count(self, user, monkeypatch):
        """Return a function that counts sessions, of which there are 3, where PostgreSQL estimates so many."""
        make_sessions(user, 3)

        def count(estimate, **filters):
            monkeypatch.setattr(admin_base, "connections", {"default": self.Estimating(estimate)})
            return admin_base.EstimatingPaginator(Session.objects.order_by("pk").filter(**filters), 100).count

        return count

    def test_a_large_table_is_not_counted(self, count):
        assert count(1_000_000) == 1_000_000

    @pytest.mark.parametrize("estimate", [-1, 0, 50_000])
    def test_a_small_or_unknown_one_is(self, count, estimate):
        assert count(estimate) == 3

    def test_what_is_filtered_is(self, count):
        assert count(1_000_000, generation=0) == 3

    def test_pages_that_are_slow_to_reach_are_not_offered(self, root, user, monkeypatch):
        monkeypatch.setattr(admin_base, "MAX_PAGES", 2)
        rows = make_sessions(user, 300)
        answer = root.get(SESSIONS, {"p": 2})
        assert len(shown(answer)) == 100
        assert "?p=3" not in text_of(answer)
        assert answer.context["cl"].result_count == 300
        assert root.get(SESSIONS, {"p": 3}).status_code == HTTPStatus.FOUND
        # Select all is all.
        act(root, SESSIONS, "revoke_selected", rows[:1], confirmed=True, across=True)
        assert not Session.objects.live().exists()

    @pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL")
    def test_postgresql_estimates(self, user, monkeypatch):
        monkeypatch.setattr(admin_base, "MAX_COUNTED_ROWS", 100)
        make_sessions(user, 500)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE jwtauth_session")
        with statements() as executed:
            assert admin_base.EstimatingPaginator(Session.objects.order_by("pk"), 100).count == 500
        assert len(executed) == 1
        assert "reltuples" in executed[0]


class TestMoments:
    @pytest.mark.parametrize(
        ("ahead", "told"),
        [
            (timedelta(0), "just now"),
            (timedelta(seconds=-59), "just now"),
            (timedelta(seconds=-61), "1 minute ago"),
            (timedelta(days=-6), "6 days ago"),
            (timedelta(days=-13), "1 week, 6 days ago"),
            (timedelta(seconds=30), "in less than a minute"),
            (timedelta(hours=3, minutes=5), "in 3 hours"),
        ],
    )
    def test_they_are_told_as_seen_from_now(self, ahead, told):
        assert told in wording.moment(timezone.now() + ahead).replace("\xa0", " ")

    @pytest.mark.parametrize(
        ("use_tz", "at", "exact"),
        [
            (True, datetime(2026, 7, 1, 12, 0, 5, tzinfo=UTC), "2026-07-01 14:00:05 CEST"),
            (False, datetime(2026, 7, 1, 12, 0, 5), "2026-07-01 12:00:05"),
        ],
    )
    def test_the_exact_time_is_there_too(self, settings, use_tz, at, exact):
        settings.USE_TZ = use_tz
        with timezone.override("Europe/Berlin"):
            assert f'title="{exact}"' in wording.moment(at)


class TestPages:
    @pytest.mark.parametrize("page", [SESSIONS, f"{SESSIONS}{{session}}/change/", DENYLIST, ADD, "{action}"])
    def test_nothing_on_them_is_inline(self, root, pair, page):
        if page == "{action}":
            answer = act(root, SESSIONS, "revoke_selected", [pair.session])
        else:
            answer = root.get(page.format(session=pair.session.pk))
        text = text_of(answer)
        assert answer.status_code == HTTPStatus.OK
        assert not re.search(r"<script(?![^>]*\b(src|type=\"application/json\"))[^>]*>", text)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)

    def test_the_base_of_the_tables_leaves_what_rows_are_to_the_tables(self):
        table = admin_base.ReadOnlyAdmin(Session, admin.site)
        with pytest.raises(NotImplementedError):
            table.matching("x")
        with pytest.raises(NotImplementedError):
            table.describe(Session())

    def test_names_that_cannot_be_searched_for_find_nothing(self, db):
        table = admin.site._registry[Session]
        assert list(table.get_search_results(HttpRequest(), Session.objects.all(), "\0")[0]) == []

    def test_the_key_of_a_child_of_another_model_is_read_as_the_parents(self, user, monkeypatch):
        own = get_user_model()._meta.pk
        child = SimpleNamespace(pk=SimpleNamespace(remote_field=True, target_field=own))
        monkeypatch.setattr(users, "get_user_model", lambda: SimpleNamespace(_meta=child))
        assert user_rows.read_pk(str(user.pk)) == user.pk
