"""The admin as its users see it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.models import DenylistEntry, Reason, Session
from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.tokens.access import get_codec
from django_jwtauth.tokens.pair import TokenPair
from tests.browser.conftest import DESKTOP, PHONE, Visit, follow, overflows, unreadable

if TYPE_CHECKING:
    from playwright.sync_api import Page

SESSIONS = "/admin/jwtauth/session/"
DENYLIST = "/admin/jwtauth/denylistentry/"


@pytest.fixture
def superuser(db: None) -> Any:
    return get_user_model().objects.create_superuser("root", password="correct horse")


@pytest.fixture
def admin(quiet_visit: Visit, superuser: Any) -> Visit:
    """A browser logged in to the admin."""
    quiet_visit.log_in(superuser)
    return quiet_visit


@pytest.fixture
def logins(db: None) -> list[Session]:
    """Logins of several users, in every state."""
    chance = random.Random(7)  # noqa: S311
    users = [get_user_model().objects.create_user(name) for name in ("ada", "grace", "hedy", "katherine")]
    clients = ["Firefox on Linux", "Chrome on Windows", "Safari on iOS", "curl", "Chrome on Android", ""]
    ends = {2: Reason.REUSE, 4: Reason.LOGOUT, 7: Reason.PASSWORD, 11: Reason.ADMIN}
    now = timezone.now()
    rows = []
    for number in range(13):
        created_at = now - timedelta(hours=20 * number, minutes=chance.randrange(600))
        refreshed_at = created_at + (now - created_at) * chance.random()
        ended = {"revoked_at": refreshed_at, "revoke_reason": ends[number]} if number in ends else {}
        rows.append(
            Session(
                user=users[number % len(users)],
                user_agent=clients[number % len(clients)],
                ip_address=f"2001:db8::{number:x}" if number % 3 == 2 else f"203.0.113.{number * 7 + 4}",
                auth_hash="x",
                generation=number % 5,
                created_at=created_at,
                refreshed_at=refreshed_at,
                access_expires_at=refreshed_at + timedelta(minutes=10),
                expires_at=now - timedelta(hours=30) if number == 9 else refreshed_at + timedelta(days=14),
                ends_at=created_at + timedelta(days=30),
                **ended,
            )
        )
    return Session.objects.bulk_create(rows)


def rows(page: Page) -> list[str]:
    """What the rows of a list say."""
    lines = page.locator("#result_list tbody tr").all_inner_texts()
    return [" ".join(line.split()) for line in lines]


def act(page: Page, action: str) -> None:
    page.get_by_label("Action:").select_option(action)
    follow(page.locator("button[name=index]"))


def sure(page: Page) -> str:
    """Confirm, and return what is said then."""
    follow(page.get_by_role("button", name="Yes, I’m sure"))  # noqa: RUF001
    return page.locator(".messagelist").inner_text().strip()


def test_an_administrator_logs_in_finds_the_sessions_of_a_user_and_revokes_one(
    quiet_visit: Visit, superuser: Any, logins: list[Session], screenshot: Callable[..., None]
) -> None:
    page = quiet_visit.open("/admin/")
    page.get_by_label("Username:").fill("root")
    page.get_by_label("Password:").fill("correct horse")
    follow(page.get_by_role("button", name="Log in"))
    follow(page.get_by_role("link", name="API sessions").first)
    assert len(rows(page)) == len(logins)
    screenshot(page, "admin-sessions")

    page.locator("#searchbar").fill("grace")
    follow(page.get_by_role("button", name="Search"))
    found = rows(page)
    assert len(found) == 3
    assert all(row.startswith("grace ") for row in found)
    newest = logins[1]
    assert found[0].startswith("grace live ends in 1 week, 6 days Chrome on Windows, 203.0.113.11, refreshed ")
    exact = timezone.localtime(newest.refreshed_at)
    assert page.locator(f"#result_list time[title='{exact:%Y-%m-%d %H:%M:%S} UTC']").count() == 1

    page.locator("#result_list .action-select").first.check()
    act(page, "Revoke selected sessions")
    assert "refused everywhere within 5 seconds" in page.locator("#content").inner_text()
    assert "grace: Chrome on Windows" in page.locator(".jwtauth-rows").inner_text()
    screenshot(page, "admin-revoke")
    assert Session.objects.get(pk=newest.pk).revoked_at is None

    assert sure(page).startswith("1 session was revoked.")
    assert rows(page)[0].startswith("grace revoked by an administrator, just now Chrome on Windows")
    assert Session.objects.get(pk=newest.pk).revoke_reason == Reason.ADMIN


def test_filters_searches_and_dates_narrow_the_list(admin: Visit, logins: list[Session]) -> None:
    page = admin.open(SESSIONS)
    filters = page.locator("#changelist-filter")
    for choice, left in (("revoked", 4), ("refresh token used twice", 1)):
        follow(filters.get_by_role("link", name=choice, exact=True))
        assert len(rows(page)) == left
    assert "revoked refresh token used twice, " in rows(page)[0]
    follow(filters.get_by_role("link", name="Clear all filters"))
    follow(filters.get_by_role("link", name="Past 7 days"))
    past_week = [login for login in logins if login.created_at > timezone.now() - timedelta(days=8)]
    assert 0 < len(rows(page)) <= len(past_week) < len(logins)
    page.goto(SESSIONS)
    for term, left in ((logins[3].sid, 1), ("203.0.113.", 9), ("2001:db8::", 4), ("nobody", 0)):
        page.locator("#searchbar").fill(term)
        follow(page.get_by_role("button", name="Search"))
        assert len(rows(page)) == left


class TestDenying:
    @pytest.fixture
    def paste(self, admin: Visit) -> Callable[..., Page]:
        """Return a function that pastes something into the form, and sees to it that it does not come back."""

        page = admin.open(f"{DENYLIST}add/")

        def paste(text: str, *expiry: str) -> Page:
            page.get_by_label("Token or id").fill(text)
            for number, part in enumerate(expiry):
                page.locator(f"#id_expires_at_{number}").fill(part)
            follow(page.get_by_role("button", name="Save"))
            page.wait_for_load_state()
            if len(text) > 36:
                assert text not in page.content()
            return page

        return paste

    @pytest.mark.parametrize("what", ["an access token", "a refresh token", "a sid"])
    def test_what_names_a_session_ends_it(self, paste: Callable[..., Page], pair: TokenPair, what: str) -> None:
        names = {"an access token": pair.access_token, "a refresh token": pair.refresh_token, "a sid": pair.session.sid}
        page = paste(names[what])
        assert page.locator(".messagelist").inner_text().startswith("1 session was revoked.")
        [row] = rows(page)
        assert row.startswith(f"{pair.session.sid} a session of user {pair.session.user_id}, denied just now by an")
        assert Session.objects.get().revoke_reason == Reason.ADMIN

    def test_what_names_nothing_is_refused(
        self, paste: Callable[..., Page], pair: TokenPair, screenshot: Callable[..., None]
    ) -> None:
        claims = sessions.verify(pair.access_token)
        old = {"iss": claims.iss, "sub": claims.sub, "aud": claims.aud[0], "jti": claims.jti, "sid": claims.sid}
        forged = refresh_tokens.derive(pair.session.pk, 0, b"another nonce")
        expired = get_codec().encode({**old, "iat": 1_000_000_000, "exp": 1_000_000_600})
        for nothing in (forged, expired, pair.access_token[:-1], "<script>alert(1)</script>"):
            page = paste(nothing)
            assert "Not recognised" in page.locator(".errorlist").inner_text()
            assert page.get_by_label("Token or id").input_value() == ""
        assert not DenylistEntry.objects.exists()
        screenshot(page, "admin-deny")

    def test_a_jti_is_asked_for_its_expiry_and_denies_one_token(self, paste: Callable[..., Page]) -> None:
        jti = encode_id(new_id())
        page = paste(jti)
        assert "say when that token expires" in page.locator(".errorlist").inner_text()
        tomorrow = timezone.localtime(timezone.now() + timedelta(days=1))
        page = paste(jti, f"{tomorrow:%Y-%m-%d}", "12:00:00")
        assert page.locator(".messagelist").inner_text().startswith("The access token is refused everywhere")
        [row] = rows(page)
        assert row.startswith(f"{jti} one access token, denied just now by an administrator in ")


def test_allowing_again_asks_first_and_says_what_stays_ended(admin: Visit, pair: TokenPair) -> None:
    sessions.revoke(pair.session, Reason.LOGOUT)
    page = admin.open(DENYLIST)
    page.locator("#result_list .action-select").check()
    act(page, "Allow again")
    assert "A session that has ended stays ended" in page.locator("#content").inner_text()
    assert DenylistEntry.objects.exists()
    assert sure(page) == "1 entry was lifted. Sessions that have ended stay ended."
    assert rows(page) == []
    assert not DenylistEntry.objects.exists()


def test_the_page_of_a_user_leads_to_the_sessions_and_revokes_them_all(
    admin: Visit, logins: list[Session], user: Any, screenshot: Callable[..., None]
) -> None:
    for _ in range(2):
        sessions.start(user)
    page = admin.open(f"/admin/auth/user/{user.pk}/change/")
    screenshot(page, "admin-user")
    follow(page.get_by_role("link", name="API sessions").last)
    assert len(rows(page)) == 2
    page.go_back()
    follow(page.get_by_role("link", name="Revoke all sessions"))
    assert "alice has 2 live sessions." in page.locator("#content").inner_text()
    assert sure(page).startswith("2 sessions were revoked.")
    assert not user.jwtauth_sessions.live().exists()
    assert Session.objects.live().exists()


def test_staff_sees_and_does_only_what_it_may(visit: Visit, pair: TokenPair) -> None:
    member = get_user_model().objects.create_user("staff", is_staff=True)
    visit.log_in(member)
    page = visit.open("/admin/")
    assert page.get_by_role("link", name="API sessions").count() == 0
    page.goto(SESSIONS)
    assert "403" in page.content()

    member.user_permissions.set(Permission.objects.filter(codename="view_session"))
    page.goto(SESSIONS)
    assert len(rows(page)) == 1
    assert page.get_by_label("Action:").count() == 0
    visit.check(refused=[(403, SESSIONS)])


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_its_pages_can_be_read(
    admin: Visit, logins: list[Session], scheme: Any, width: Any, screenshot: Callable[..., None]
) -> None:
    page = admin.open(SESSIONS)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(width)
    for path in (SESSIONS, f"{SESSIONS}{logins[2].pk}/change/", f"{DENYLIST}add/"):
        page.goto(path)
        assert not overflows(page)
        if path.startswith(SESSIONS):
            assert unreadable(page, ".jwtauth-state") == []
    page.goto(SESSIONS)
    if scheme == "dark":
        screenshot(page, "admin-phone")
