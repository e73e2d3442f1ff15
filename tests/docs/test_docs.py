"""The pages of the repository and of docs/: their links lead somewhere, and what they name exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import include, path, resolve

from django_jwtauth.management.commands.jwtauth_inspect import STAGES
from django_jwtauth.views import JWKSView
from django_jwtauth.views.keys import JWKS_MAX_AGE
from tests.docs import readme
from tests.support.servers import EXAMPLE


class MountedURLs:
    """The URLs of a project that has done what the README says, and no more."""

    urlpatterns = (path("auth/", include("django_jwtauth.urls")),)


PAGES = {name: path.read_text() for name, path in readme.NAMES.items()}


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def first_cells(text: str, title: str) -> list[str]:
    """The first column of the table below a header row that begins so."""
    (body,) = re.findall(rf"^\| {re.escape(title)} \|.*\n\| -.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [row.split("|")[1].strip().strip("`") for row in body.splitlines()]


@pytest.mark.parametrize("name", PAGES)
class TestPages:
    def test_every_link_leads_somewhere(self, name: str) -> None:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[name]):
            file, _, anchor = target.partition("#")
            here = readme.NAMES[name]
            page = here.parent / file if file else here
            assert page.is_file(), target
            assert not anchor or anchor in anchors(page.read_text()), target

    def test_every_jwk_set_of_this_app_is_where_the_package_serves_it(self, name: str) -> None:
        if name == "docs/howto/issuers.md":
            assert "https://api.example.com/" in PAGES[name]
        for place in re.findall(r"https://api\.example\.com(/[^\"\s]*jwks\.json)", PAGES[name]):
            assert resolve(place, MountedURLs).func.view_class is JWKSView

    def test_every_command_exists(self, name: str) -> None:
        assert set(re.findall(r"manage\.py (\w+)", PAGES[name])) <= get_commands().keys()

    def test_every_dotted_name_exists(self, name: str) -> None:
        for dotted in set(re.findall(r"\bdjango_jwtauth(?:\.\w+)+", PAGES[name])):
            package, *rest = dotted.split(".")
            found = import_module(package)
            for part in rest:
                found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")


@pytest.mark.parametrize("index", sorted(readme.DOCS.rglob("index.md")), ids=lambda index: index.parent.name)
def test_an_index_describes_each_page_of_its_folder(index: Path) -> None:
    described = re.findall(r"\]\(([\w-]+)(?:/index)?\.md\)", re.sub(r"(?m)^(?!- ).*", "", index.read_text()))
    pages = {page.stem for page in index.parent.glob("*.md")} - {"index"}
    folders = {page.parent.name for page in index.parent.glob("*/index.md")}
    assert set(described) == pages | folders


def test_the_stages_are_those_of_the_command() -> None:
    assert first_cells(PAGES["docs/howto/keys.md"], "stage") == list(STAGES)


def test_the_variables_of_the_gateway_are_those_of_its_configuration() -> None:
    configuration = (EXAMPLE / "gateway" / "haproxy.cfg").read_text()
    read = set(re.findall(r"\$\{(\w+)", configuration)) | set(re.findall(r"defined\((\w+)\)", configuration))
    written = {
        name for cell in first_cells(PAGES["docs/howto/gateway.md"], "variable") for name in re.findall(r"\w+", cell)
    }
    assert written == read
    defaults = dict(re.findall(r"\$\{(\w+)-([^}]+)\}", configuration))
    for name, default in defaults.items():
        assert f"| `{name}` | `{default}` |" in PAGES["docs/howto/gateway.md"]


def test_five_minutes_are_what_the_view_says() -> None:
    assert JWKS_MAX_AGE == 5 * 60
