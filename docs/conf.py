"""The documentation as a site. `tox -e docs` builds it; nothing is read from the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from django_jwtauth import __version__

# What is generated from docstrings is imported, and its modules refer to models.
settings.configure(
    SECRET_KEY="of the documentation, which signs nothing",  # noqa: S106
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_jwtauth"],
)
django.setup()

project = "djangorestframework-jwtauth"
author = copyright = "the django-jwtauth contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"django_jwtauth {release}"
html_copy_source = html_show_sourcelink = False

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
# Names of other projects: to link them takes their inventories, and those the network.
nitpick_ignore_regex = [("py:.*", r"(?!django_jwtauth).*")]

DOCS = Path(__file__).parent

README_SECTIONS = {
    "": "index.md",
    "set-up": "index.md#set-up",
    "try-it": "index.md#try-it",
    "how-it-works": "index.md#how-it-works",
    "versions": "index.md#versions",
    "endpoints": "endpoints.md",
    "error-codes": "endpoints.md#error-codes",
    "settings": "settings.md",
    "signing-keys": "settings.md#signing-keys",
    "what-revocation-promises": "promises.md",
    "when-a-user-changes": "promises.md#when-a-user-changes",
    "python-api": "python.md",
    "sessions": "python.md#sessions",
    "more-claims": "python.md#more-claims",
    "signals": "python.md#signals",
    "audit-log": "python.md#audit-log",
    "views": "python.md#views",
    "throttles": "python.md#throttles",
    "testing": "python.md#testing",
    "admin": "commands.md#admin",
    "commands": "commands.md#commands",
    "system-checks": "commands.md#system-checks",
    "before-production": "deployment.md#before-production",
    "what-it-costs": "performance.md",
    "other-packages": "comparison.md",
}
"""Where the site shows the sections of the README."""
FILES = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "performance.md",
    "example_project/README.md": "example.md",
}
"""What the site has for other files of the repository."""
OPTIONAL = {"admin", "demo", "threat-model"}
"""Pages that index.md lists and that may not be there."""


def on_site(path: str) -> str:
    """Return what to link on the site for a file of the repository, by its path from the top and its anchor."""
    file, _, anchor = path.partition("#")
    if file == "README.md":
        return README_SECTIONS[anchor]
    if file in FILES:
        return path.replace(file, FILES[file])
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"


def list_pages(app: Any, name: str, source: list[str]) -> None:
    """List only pages that are there."""
    if name == "index":
        missing = {page for page in OPTIONAL if not (DOCS / f"{page}.md").exists()}
        source[0] = "\n".join(line for line in source[0].split("\n") if line not in missing)


def link_pages(app: Any, name: str, source: list[str]) -> None:
    """Have links out of docs, as they work in the repository, lead to what the site has."""
    source[0] = re.sub(r"\]\(\.\./([^)]+)\)", lambda link: f"]({on_site(link[1])})", source[0])


def adapt_included(app: Any, path: Path, page: str, source: list[str]) -> None:
    """Make pages of what is included from elsewhere in the repository. The README's titles rise a level."""
    is_readme = path == Path("../README.md")

    def link(found: re.Match[str]) -> str:
        if found[1].startswith("#"):
            return f"]({README_SECTIONS[found[1][1:]]})" if is_readme else found[0]
        return f"]({on_site(found[1].removeprefix('../'))})"

    text = re.sub(r"\]\((?!https?:)([^)]+)\)", link, source[0])
    source[0] = re.sub(r"^##", "#", text, flags=re.MULTILINE) if is_readme else text


def setup(app: Any) -> None:
    app.connect("source-read", list_pages)
    app.connect("source-read", link_pages)
    app.connect("include-read", adapt_included)
