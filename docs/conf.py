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
    file = path.partition("#")[0]
    if file in FILES:
        return path.replace(file, FILES[file])
    return path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"


def adapt(text: str, place: str, page: str) -> str:
    """Rewrite the links of a file in the folder `place` of the repository for a page of the site."""

    def link(found: re.Match[str]) -> str:
        path = on_site(normpath(join(place, found[1])))
        return f"]({relpath(path, dirname(page) or '.')})"

    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", link, text)


def adapt_page(app: Any, page: str, source: list[str]) -> None:
    """Rewrite links that leave docs/. In the repository they lead to files, on the site to pages."""
    source[0] = re.sub(
        r"\]\((?:\.\./)+[^)]+\)", lambda link: adapt(link[0], join("docs", dirname(page)), page), source[0]
    )


def adapt_included(app: Any, path: Path, stem: str, source: list[str]) -> None:
    """Rewrite the links of what is included from elsewhere in the repository."""
    page = app.env.docname  # MyST gives its last part only.
    source[0] = adapt(source[0], dirname(normpath(join("docs", path))), page)


def setup(app: Any) -> None:
    app.connect("source-read", adapt_page)
    app.connect("include-read", adapt_included)
