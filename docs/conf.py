"""The documentation as a site. `tox -e docs` builds it; nothing is read from the network."""

from __future__ import annotations

import re
from os.path import dirname, join, normpath, relpath
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

README_SECTIONS = {
    "": "index.md",
    "set-up": "index.md#set-up",
    "try-it": "index.md#try-it",
    "how-it-works": "index.md#how-it-works",
    "versions": "index.md#versions",
    "endpoints": "reference/endpoints.md",
    "error-codes": "reference/endpoints.md#error-codes",
    "settings": "reference/settings.md",
    "signing-keys": "reference/settings.md#signing-keys",
    "what-revocation-promises": "explanation/promises.md",
    "when-a-user-changes": "explanation/promises.md#when-a-user-changes",
    "python-api": "reference/python.md",
    "sessions": "reference/python.md#sessions",
    "more-claims": "reference/python.md#more-claims",
    "signals": "reference/python.md#signals",
    "audit-log": "reference/python.md#audit-log",
    "views": "reference/python.md#views",
    "throttles": "reference/python.md#throttles",
    "testing": "reference/python.md#testing",
    "admin": "reference/commands.md#admin",
    "commands": "reference/commands.md#commands",
    "system-checks": "reference/commands.md#system-checks",
    "before-production": "howto/deployment.md#before-production",
    "what-it-costs": "project/assurance/performance.md",
    "other-packages": "explanation/comparison.md",
}
"""Where the site shows the sections of the README."""
FILES = {
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/assurance/performance.md",
    "example_project/README.md": "tutorial/example.md",
}
"""What the site has for other files of the repository."""


def on_site(path: str) -> str:
    """Map a file of the repository to a link from the top of the site. Paths begin at the top."""
    file, _, anchor = path.partition("#")
    if file == "README.md":
        return README_SECTIONS[anchor]
    if file in FILES:
        return path.replace(file, FILES[file])
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"


def adapt(text: str, place: str, page: str) -> str:
    """Rewrite the links of a file in the folder `place` of the repository for a page of the site."""

    def link(found: re.Match[str]) -> str:
        target = found[1] if not found[1].startswith("#") else f"README.md{found[1]}"
        path = on_site(normpath(join(place, target)))
        return f"]({relpath(path, dirname(page) or '.')})"

    return re.sub(r"\]\((?!https?:)([^)]+)\)", link, text)


def adapt_page(app: Any, page: str, source: list[str]) -> None:
    """Rewrite links that leave docs/. In the repository they lead to files, on the site to pages."""
    source[0] = re.sub(
        r"\]\((?:\.\./)+[^)]+\)", lambda link: adapt(link[0], join("docs", dirname(page)), page), source[0]
    )


def adapt_included(app: Any, path: Path, stem: str, source: list[str]) -> None:
    """Make pages of what is included from elsewhere in the repository. The README's titles rise a level."""
    page = app.env.docname  # MyST gives its last part only.
    place = dirname(normpath(join("docs", path)))
    if path.name == "README.md" and not place:
        source[0] = re.sub(r"^##", "#", adapt(source[0], place, page), flags=re.MULTILINE)
    else:
        source[0] = re.sub(r"\]\((?!https?:|#)[^)]+\)", lambda link: adapt(link[0], place, page), source[0])


def setup(app: Any) -> None:
    app.connect("source-read", adapt_page)
    app.connect("include-read", adapt_included)
