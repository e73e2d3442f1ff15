"""Chromium in front of the example project, which is served as it is deployed; its database is a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client

from tests.support.servers import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Response

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
DESKTOP = {"width": 1360, "height": 800}
PHONE = {"width": 390, "height": 800}
LEAST_CONTRAST = 4.5
PATIENCE = 10_000
"""Milliseconds that what is waited for may take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # Chromium is a process: whoever wants none of those wants no browser either.
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not executable:
        missing("Chromium is not installed: apt-get install chromium, or name the file by CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed: pip install -e '.[browser]'")
    # Its synchronous interface keeps a loop in this thread, in which Django would use no database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS.split())
        yield chromium
        chromium.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put SQLite into a file: one connection to a database in memory would serve all threads of the server."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "db.sqlite3")


class Visit:
    """What a browser does at the site, on all its tabs."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.context = context
        self.requests: list[tuple[str, str]] = []
        self.refused: list[tuple[int, str]] = []
        self._site = site
        self._elsewhere: list[str] = []
        self._console: list[str] = []
        context.on("request", lambda request: self._requested(request.method, request.url))
        context.on("response", self._answered)
        context.on("console", self._told)
        context.on("weberror", lambda error: self._console.append(str(error.error)))

    def open(self, path: str) -> Page:
        """Open a tab."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(path)
        return page

    def log_in(self, user: Any) -> None:
        """Log in to the admin without its form."""
        client = Client()
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        name = django_settings.SESSION_COOKIE_NAME
        self.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": self._site}])

    def count(self, method: str, path: str) -> int:
        """Return how often that was requested."""
        return self.requests.count((method, path))

    def check(self, refused: list[tuple[int, str]]) -> None:
        """Hold it against what is right: silence in the console, and no word to another machine."""
        assert self._elsewhere == []
        assert self._console == []
        assert self.refused == refused

    def _requested(self, method: str, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"data", "blob"}:
            return
        self.requests.append((method, parts.path))
        if f"{parts.scheme}://{parts.netloc}" != self._site:
            self._elsewhere.append(url)

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append((response.status, urlsplit(response.url).path))

    def _told(self, message: ConsoleMessage) -> None:
        # Chromium repeats there what was answered, and asks for an icon by itself.
        if not message.text.startswith("Failed to load resource"):
            self._console.append(message.text)


@pytest.fixture
def visit(browser: Browser, django_db_setup: None, live_server: Any) -> Iterator[Visit]:
    """A browser at the site; a test that expects refusals tells them by ``visit.check``.

    The database comes before the server, which would otherwise take it for one in memory, and share its connection.
    """
    with browser.new_context(base_url=live_server.url, viewport=DESKTOP) as context:
        yield Visit(context, live_server.url)


@pytest.fixture
def quiet_visit(visit: Visit) -> Iterator[Visit]:
    """A browser to which nothing is refused."""
    yield visit
    visit.check(refused=[])


@pytest.fixture
def screenshot() -> Callable[..., None]:
    """Return a function that keeps what a page looks like, in the folder that the variable SCREENSHOTS names."""
    folder = os.environ.get("SCREENSHOTS")

    def take(page: Page, name: str, **options: Any) -> None:
        if folder:
            page.screenshot(path=f"{folder}/{name}.png", animations="disabled", **options)

    return take


def follow(link: Locator) -> None:
    """Click what leads to another page, and wait until that is there."""
    with link.page.expect_navigation():
        link.click()


def overflows(page: Page) -> bool:
    """Whether one has to scroll sideways."""
    wider: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wider


def unreadable(page: Page, selector: str) -> list[tuple[str, float]]:
    """Return which of these elements have text too much like what is behind it (WCAG 2.2, 1.4.3), and its contrast."""
    found = [(text, _contrast(*colours)) for text, *colours in page.evaluate(_COLOURS, selector)]
    assert found
    return [(text, contrast) for text, contrast in found if contrast < LEAST_CONTRAST]


_COLOURS = """selector => [...document.querySelectorAll(selector)].map(element => {
    // Painting colours one over the other turns every notation and every transparency into numbers.
    const paint = (colours) => {
        const context = document.createElement("canvas").getContext("2d");
        for (const colour of colours) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const behind = [];
    for (let under = element; under; under = under.parentElement) {
        behind.unshift(getComputedStyle(under).backgroundColor);
    }
    return [element.outerHTML, paint([...behind, getComputedStyle(element).color]), paint(behind)];
})"""


def _contrast(first: list[int], second: list[int]) -> float:
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: list[int]) -> float:
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
