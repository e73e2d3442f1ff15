"""Swagger UI at /api/docs/, from the example's own static files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_jwtauth.tokens.pair import TokenPair
from tests.browser.conftest import Visit


def test_with_a_token_it_calls_the_api(
    quiet_visit: Visit, user: Any, pair: TokenPair, screenshot: Callable[..., None]
) -> None:
    page = quiet_visit.open("/api/docs/")
    page.get_by_role("button", name="Authorize").first.click()
    bearer = page.locator(".auth-container", has_text="jwtAuth")
    bearer.get_by_role("textbox").fill(pair.access_token)
    bearer.get_by_role("button", name="Apply credentials").click()
    bearer.get_by_role("button", name="Remove authorization").wait_for()
    page.get_by_role("button", name="Close").last.click()

    ping = page.locator("[id$=ping_retrieve]")
    ping.locator(".opblock-summary-control").click()
    ping.get_by_role("button", name="Try it out").click()
    ping.get_by_role("button", name="Execute").click()
    answer = ping.locator(".live-responses-table .response-col_description")
    answer.get_by_text(f'"user_id": {user.pk}').wait_for()
    ping.scroll_into_view_if_needed()
    screenshot(page, "swagger")
