"""The example's page: it does with tokens what a good client does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from django_jwtauth import sessions
from django_jwtauth.models import Reason, Session
from tests.browser.conftest import DESKTOP, PHONE, Visit, overflows, unreadable

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PING, OBTAIN, REFRESH, REVOKE = "/api/ping/", "/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/"
REFUSED = HTTPStatus.UNAUTHORIZED


@pytest.fixture
def page(visit: Visit, user: Any) -> Page:
    """The page, with alice logged in. At the end a test says by ``visit.check`` what it has seen refused."""
    page = visit.open("/")
    log_in(page)
    return page


def log_in(page: Page, password: str = "correct horse") -> None:
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    if password == "correct horse":
        page.get_by_role("heading", name="Logged in as alice").wait_for()


def click(page: Page, name: str, **options: Any) -> None:
    page.get_by_role("button", name=name, **options).first.click()


def see(page: Page, text: str) -> None:
    """Wait until it can be seen."""
    page.get_by_text(text).first.wait_for()


def refresh(page: Page) -> None:
    token = stored(page)
    click(page, "Refresh now")
    page.wait_for_function("old => Object.values(localStorage)[0] !== old", arg=token)


def stored(page: Page) -> str | None:
    """What the browser keeps: the refresh token, and nothing else."""
    kept: dict[str, str] = page.evaluate("({...localStorage})")
    assert len(kept) <= 1
    return kept.get("notes.refresh-token")


class TestOneTab:
    def test_it_shows_the_parts_of_the_token_and_calls_the_api(
        self, visit: Visit, page: Page, user: Any, screenshot: Callable[..., None]
    ) -> None:
        session = Session.objects.get()
        assert json.loads(page.locator("#token-header").inner_text())["typ"] == "at+jwt"
        claims = json.loads(page.locator("#token-claims").inner_text())
        assert (claims["sub"], claims["sid"]) == (str(user.pk), session.sid)
        assert "HS256, 32 bytes" in page.locator("#token-signature").inner_text()
        shown = page.locator("#raw").inner_text()
        assert sessions.verify(shown).sid == session.sid
        assert re.match(r"(9:\d\d|10:00) left", page.locator("#left-text").inner_text())

        click(page, "GET /api/ping/")
        see(page, f'"user_id": {user.pk}')
        click(page, "GET /api/me/")
        see(page, '"username": "alice"')
        for note in ("Water the plants", "Call Ada"):
            page.get_by_label("A new note").fill(note)
            click(page, "Add")
            page.get_by_role("button", name=f"Delete {note}").wait_for()
        refresh(page)
        refresh(page)
        see(page, "just used, forgiven")
        screenshot(page, "demo", full_page=True)
        click(page, "Delete Call Ada")
        page.get_by_role("button", name="Delete Call Ada").wait_for(state="detached")
        assert list(user.notes.values_list("title", flat=True)) == ["Water the plants"]

        stored_token = stored(page)
        assert stored_token is not None
        assert stored_token.startswith("jrt_")
        click(page, "Log out")
        see(page, "You were logged out.")
        assert stored(page) is None
        session.refresh_from_db()
        assert session.revoke_reason == Reason.LOGOUT
        visit.check(refused=[])

    def test_a_script_from_anywhere_else_does_not_run(self, visit: Visit, page: Page) -> None:
        blocked = page.evaluate(
            """() => new Promise(resolve => {
                document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
                const script = document.createElement("script");
                try { script.textContent = "window.smuggled = true"; document.body.append(script); }
                catch { resolve("trusted types"); }
            })"""
        )
        assert blocked in {"require-trusted-types-for", "script-src-elem", "trusted types"}
        assert page.evaluate("window.smuggled") is None

    def test_everything_in_it_has_a_name(self, visit: Visit, page: Page) -> None:
        refresh(page)
        nameless = page.evaluate(
            """selector => [...document.querySelectorAll(selector)].filter(element => !(
                element.ariaLabel || element.labels?.length || element.innerText?.trim()
                || element.getAttribute("aria-labelledby")
            )).map(element => element.outerHTML)""",
            "input, button, progress, pre, a, section",
        )
        assert nameless == []
        visit.check(refused=[])

    def test_a_wrong_password_is_told(self, visit: Visit, user: Any) -> None:
        page = visit.open("/")
        log_in(page, "wrong")
        see(page, "password")
        page.locator("#banner.bad").wait_for()
        visit.check(refused=[(REFUSED, OBTAIN)])

    def test_a_token_that_has_run_out_is_refreshed_by_the_next_request(
        self, visit: Visit, user: Any, jwtauth: Callable[..., None]
    ) -> None:
        jwtauth(ACCESS_TOKEN_LIFETIME=timedelta(seconds=2), LEEWAY=timedelta(0))
        page = visit.open("/")
        log_in(page)
        page.locator("#left-text", has_text="has run out").wait_for()
        refreshed = visit.count("POST", REFRESH)
        click(page, "GET /api/ping/")
        see(page, "200 /api/ping/")
        assert visit.count("POST", REFRESH) == refreshed + 1
        visit.check(refused=[])

    def test_requests_at_once_share_one_refresh(self, visit: Visit, page: Page) -> None:
        click(page, "Ten at once")
        page.wait_for_function("() => document.querySelectorAll('#log li').length >= 15")
        assert visit.count("GET", PING) == 10
        assert visit.count("POST", REFRESH) == 1
        visit.check(refused=[])

    def test_a_session_that_was_ended_elsewhere_is_refused_once_and_then_over(
        self, visit: Visit, page: Page, user: Any
    ) -> None:
        sessions.revoke_all(user, Reason.ADMIN)
        click(page, "GET /api/ping/")
        see(page, "The session was ended. Log in again.")
        page.get_by_role("button", name="Log in").wait_for()
        assert stored(page) is None
        visit.check(refused=[(REFUSED, PING), (REFUSED, REFRESH)])

    def test_a_single_access_token_that_is_refused_is_replaced(self, visit: Visit, page: Page, settings: Any) -> None:
        token = page.locator("#raw").inner_text()
        # The key is replaced, and tokens under the old one verify no longer; the refresh token's does.
        settings.JWTAUTH = {**settings.JWTAUTH, "AUDIENCE": "another"}
        click(page, "GET /api/ping/")
        see(page, "200 /api/ping/")
        assert page.locator("#raw").inner_text() != token
        visit.check(refused=[(REFUSED, PING)])

    def test_a_server_that_asks_for_time_gets_it(self, visit: Visit, page: Page) -> None:
        answers = [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS]

        def busy(route: Route) -> None:
            if answers:
                route.fulfill(status=answers.pop(0), headers={"Retry-After": "1"}, json={"detail": "Later."})
            else:
                route.continue_()

        page.route(f"**{PING}", busy)
        click(page, "GET /api/ping/")
        see(page, "The server is not ready: trying again in 1 s.")
        see(page, "Too many requests: trying again in 1 s.")
        see(page, "200 /api/ping/")
        page.locator("#banner").wait_for(state="hidden")
        visit.check(refused=[(503, PING), (429, PING)])

    def test_who_is_locked_out_is_told_for_how_long(self, visit: Visit, user: Any) -> None:
        client = Client()
        for _ in range(20):
            client.post(OBTAIN, {"username": "alice", "password": "wrong"})
        page = visit.open("/")
        log_in(page, "wrong")
        page.get_by_text(re.compile(r"Come back in \d+ seconds")).wait_for()
        visit.check(refused=[(429, OBTAIN)])

    def test_a_server_that_is_away_does_not_end_the_login(self, visit: Visit, page: Page) -> None:
        page.route(f"**{REFRESH}", lambda route: route.abort())
        click(page, "Refresh now")
        see(page, "The server could not be reached")
        page.unroute(f"**{REFRESH}")
        refresh(page)
        visit.check(refused=[])


class TestReplay:
    def test_a_token_used_long_ago_ends_the_session(
        self, visit: Visit, page: Page, screenshot: Callable[..., None]
    ) -> None:
        refresh(page)
        refresh(page)
        page.locator("#used button").last.click()
        see(page, "The session was ended. Log in again.")
        see(page, "answered 401 token_reused to the replay")
        screenshot(page, "demo-replay")
        assert Session.objects.get().revoke_reason == Reason.REUSE
        visit.check(refused=[(REFUSED, REFRESH), (REFUSED, PING), (REFUSED, REFRESH)])

    def test_the_one_used_last_is_forgiven_for_a_moment(self, visit: Visit, page: Page) -> None:
        refresh(page)
        page.locator("#used button").click()
        see(page, "Forgiven: it got the same successor that you have.")
        refresh(page)
        assert Session.objects.live().exists()
        visit.check(refused=[])


class TestSessions:
    def test_they_are_listed_and_ended(self, visit: Visit, page: Page, user: Any) -> None:
        others = [sessions.start(user) for _ in range(3)]
        refresh(page)
        rows = page.locator("#sessions li")
        page.wait_for_function("() => document.querySelectorAll('#sessions li').length === 4")
        assert rows.filter(has_text="this one").count() == 1
        assert "Chrome on Linux, 127.0.0.1, refreshed" in rows.filter(has_text="this one").inner_text()
        rows.filter(has_not_text="this one").first.get_by_role("button").click()
        page.wait_for_function("() => document.querySelectorAll('#sessions li').length === 3")
        click(page, "End all others")
        page.wait_for_function("() => document.querySelectorAll('#sessions li').length === 1")
        assert not Session.objects.live().filter(pk__in=[pair.session.pk for pair in others]).exists()
        rows.get_by_role("button").click()
        see(page, "The session was ended. Log in again.")
        assert not Session.objects.live().exists()
        visit.check(refused=[(REFUSED, "/auth/sessions/"), (REFUSED, REFRESH)])


class TestTwoTabs:
    def test_they_share_a_login_and_each_refreshes_once_at_most(self, visit: Visit, page: Page) -> None:
        # With the usual leeway: a tab in another process may see the token before for a moment, lock or not.
        refreshed = visit.count("POST", REFRESH)
        other = visit.open("/")
        other.get_by_role("heading", name="Logged in as alice").wait_for()
        before = Session.objects.get().generation
        for tab in (page, other):
            tab.evaluate("document.getElementById('ten').click()")
        for tab in (page, other):
            tab.wait_for_function("() => document.querySelectorAll('#log li').length >= 14")
            see(tab, "200 /api/ping/")
        session = Session.objects.get()
        assert session.revoked_at is None
        assert before < session.generation <= before + 2
        assert visit.count("POST", REFRESH) <= refreshed + 3, "one to open the other tab, and then one a tab"
        assert visit.count("GET", PING) == 20

        # What one of them refreshes, the other has.
        refresh(other)
        token = other.locator("#raw").inner_text()
        page.wait_for_function("token => document.getElementById('raw').innerText === token", arg=token)

        click(other, "Log out")
        see(page, "You were logged out.")
        log_in(page)
        other.get_by_role("heading", name="Logged in as alice").wait_for()
        visit.check(refused=[])

    def test_another_user_who_logs_in_is_the_user_of_both(self, visit: Visit, page: Page, other_user: Any) -> None:
        other = visit.open("/")
        other.get_by_role("heading", name="Logged in as alice").wait_for()
        click(page, "Log out")
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill("battery staple")
        click(page, "Log in")
        other.get_by_role("heading", name="Logged in as bob").wait_for()
        assert get_user_model().objects.get(username="bob").jwtauth_sessions.count() == 1
        visit.check(refused=[])


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_it_can_be_read(visit: Visit, page: Page, scheme: Any, width: Any, screenshot: Callable[..., None]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(width)
    refresh(page)
    assert not overflows(page)
    assert unreadable(page, "p, h2, li, button, .part, .hint, .pill, a, pre, label") == []
    if scheme == "dark":
        screenshot(page, "demo-phone")
    visit.check(refused=[])
