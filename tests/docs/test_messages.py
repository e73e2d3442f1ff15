"""Whatever people read is translated. The catalogue is compared with the sources, without the tools of gettext.

CONTRIBUTING.md has the command that brings it up to date.
"""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation.template import templatize

import django_jwtauth
from django_jwtauth import errors
from django_jwtauth.models import DenylistEntry, Session

PACKAGE = Path(django_jwtauth.__file__).parent
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/django.po"))
MARKS = {"gettext": 1, "gettext_lazy": 1, "ngettext": 2, "ngettext_lazy": 2}
"""The functions that mark a message, and how many of its forms each one takes."""

Forms = tuple[str, ...]


def marked(source: str) -> Iterator[Forms]:
    """Yield the messages in the source of a module, singular and plural."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: MARKS[alias.name]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            forms = [ast.literal_eval(form) for form in node.args[: names[node.func.id]]]
            yield tuple(forms)


def marked_in_template(source: str) -> Iterator[Forms]:
    for call in re.findall(r"\bn?gettext\((?:u'[^']*'(?:, )?)+", templatize(source)):
        yield tuple(re.findall(r"u'([^']*)'", call))


def read(catalogue: str) -> Iterator[tuple[Forms, Forms, str]]:
    """Yield forms, translations and flags of each message of a ``.po`` file, but for its head."""
    for entry in catalogue.strip().split("\n\n")[1:]:
        texts = {
            field: "".join(map(ast.literal_eval, lines.strip().split("\n")))
            for field, lines in re.findall(r'^(msg\S+) ((?:".*"\n?)+)', entry, re.MULTILINE)
        }
        forms = tuple(text for field, text in texts.items() if field.startswith("msgid"))
        translations = tuple(text for field, text in texts.items() if field.startswith("msgstr"))
        yield forms, translations, " ".join(re.findall(r"^#,(.*)", entry, re.MULTILINE))


@pytest.fixture(params=CATALOGUES, ids=lambda path: path.parts[-3])
def catalogue(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_message_is_in_the_catalogue_and_nothing_else(catalogue):
    sources = {forms for path in PACKAGE.rglob("*.py") for forms in marked(path.read_text())}
    sources |= {forms for path in PACKAGE.rglob("*.html") for forms in marked_in_template(path.read_text())}
    assert len(sources) > 50
    assert {forms for forms, *_ in read(catalogue.read_text())} == sources


def test_every_message_is_translated_and_keeps_its_places(catalogue):
    for forms, translations, flags in read(catalogue.read_text()):
        assert "fuzzy" not in flags, forms
        assert all(translations), forms
        places = [sorted(re.findall(r"%\(\w+\)\w", text)) for text in (*forms, *translations)]
        assert places == [places[0]] * len(places), forms


def test_the_compiled_catalogue_is_up_to_date(catalogue):
    with catalogue.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for forms, translations, _ in read(catalogue.read_text()):
        found = (
            (compiled.gettext(*forms),)
            if len(forms) == 1
            else tuple(compiled.ngettext(*forms, count) for count in (1, 2))
        )
        assert found == translations


def test_what_people_read_is_marked():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    messages = [kind.message for kind in kinds if issubclass(kind, errors.JWTAuthError)]
    assert len(messages) > 5
    assert all(isinstance(message, Promise) for message in messages)
    for model in (Session, DenylistEntry):
        for field in (field for field in model._meta.concrete_fields if field.editable and not field.primary_key):
            assert isinstance(field.verbose_name, Promise), field
            assert not field.help_text or isinstance(field.help_text, Promise), field


def test_a_refusal_is_told_in_the_language_of_the_client(client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    headers = {"Accept-Language": "de", "Authorization": "Bearer x"}
    answer = client.get("/api/ping/", headers=headers)
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json() == {"detail": "Das Token ist ungültig.", "code": "token_invalid"}


@pytest.mark.parametrize(("count", "expected"), [(1, "1 Sitzung wurde"), (2, "2 Sitzungen wurden")])
def test_plurals_are_those_of_the_language(count, expected):
    from django_jwtauth.admin.wording import revocation_result

    with translation.override("de"):
        assert (
            revocation_result(count)
            == f"{expected} widerrufen. Access-Tokens werden innerhalb von 5 Sekunden überall abgelehnt."
        )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('from django.utils.translation import gettext_lazy as _\n_("a" "b")', [("ab",)]),
        ('from django.utils.translation import ngettext\nngettext("one", "%d", 3)', [("one", "%d")]),
        ('_("no mark")', []),
    ],
)
def test_the_reader_of_sources_sees_every_mark(source, expected):
    assert list(marked(source)) == expected


def test_the_reader_of_catalogues_sees_flags_and_lines():
    entry = 'msgid ""\nmsgstr ""\n\n#, fuzzy\nmsgid ""\n"a"\n"b"\nmsgid_plural "c"\nmsgstr[0] "x"\nmsgstr[1] ""\n'
    assert list(read(entry)) == [(("ab", "c"), ("x", ""), " fuzzy")]
