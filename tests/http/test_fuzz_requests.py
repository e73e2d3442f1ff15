"""No request gets a 5xx, whatever its body, headers, query and path; and no answer repeats a secret."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from django_jwtauth import sessions
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import InvalidTokenError, TokenError
from django_jwtauth.jose.encoding import b64url_decode, b64url_encode, encode_id, new_id
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.tokens.pair import TokenPair
from tests.support.forging import ALPHABET, CHARACTERS, NAMES, NUMBERS, OTHERS, WORDS, cut, spelt
from tests.support.fuzzing import examples

pytestmark = pytest.mark.usefixtures("quiet")

PASSWORD = "correct horse"
TOKEN_PATHS = ["/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/"]
PATHS = [
    *(TOKEN_PATHS * 3),
    *(
        "/auth/sessions/",
        "/auth/sessions/{sid}/",
        "/auth/sessions/{text}/",
        "/auth/jwks.json",
        "/.well-known/jwks.json",
    ),
    *("/api/ping/", "/api/me/", "/api/notes/", "/api/notes/{text}/", "/auth/{text}"),
]
METHODS = ["GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "X"]
FIELDS = ["username", "password", "refresh_token", "token", "token_type_hint", "others", "title", "text", "", "\0", "é"]
TYPES = [
    *(["application/json"] * 4 + ["application/x-www-form-urlencoded"] * 3 + ["multipart/form-data; boundary=x"] * 2),
    *(
        "application/json; charset=utf-16",
        "application/json; charset=rot13",
        "application/json; charset=zlib",
        "text/plain",
        "",
        ";",
        "multipart/form-data",
    ),
    *("multipart/form-data; boundary=" + "x" * 300, "application/x-www-form-urlencoded; charset=idna", "*/*", "a/b/c"),
    *('multipart/form-data; boundary="x', "application/json; charset=\x80", "text/html; q=1; q=2", "multipart/mixed"),
]
HEADERS = [
    *(
        "HTTP_AUTHORIZATION",
        "HTTP_USER_AGENT",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_ACCEPT",
        "HTTP_IF_NONE_MATCH",
        "HTTP_HOST",
    ),
    *("HTTP_COOKIE", "HTTP_ACCEPT_LANGUAGE", "CONTENT_LENGTH", "HTTP_IF_MODIFIED_SINCE", "HTTP_X_FORWARDED_PROTO"),
    *(
        "HTTP_ORIGIN",
        "HTTP_REFERER",
        "REMOTE_ADDR",
        "HTTP_CONTENT_ENCODING",
        "HTTP_X_HTTP_METHOD_OVERRIDE",
        "HTTP_RANGE",
    ),
]
HEADER_VALUES = [
    *("", " ", "*", "null", "-1", "0", "9" * 30, "9" * 5000, "1e3", "Basic YTpi", "Bearer", "Bearer  ", "bearer a.b.c"),
    *(
        "127.0.0.1",
        "::1",
        "fe80::1%eth0",
        "1.2.3.4, 5.6.7.8",
        ",,,",
        "unknown",
        "[::1]:80",
        "999.1.1.1",
        "\x00",
        "\xff",
    ),
    *(
        'W/"x", "y"',
        '"',
        "*/*;q=é",
        "text/html;q=" + "9" * 400,
        "en;q=0.5, " * 200,
        "gzip",
        "sessionid=x; csrftoken=",
        ";",
    ),
    *("testserver", "evil.example", "a" * 300, "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", "x" * 9000, "null\xa0"),
    *("Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 99 Foo 99999 99:99:99 GMT", "bytes=0-" + "9" * 50, "https", "\t"),
]


@contextmanager
def undone() -> Iterator[None]:
    """Undo what an example does, so that it finds what the last one found."""
    denylist.clear()
    cache.clear()
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@st.composite
def texts(draw: st.DrawFn, pool: list[str]) -> str:
    """Something that was handed out, that with a small change, or anything."""
    match draw(st.sampled_from(["as it is", "as it is", "changed", "word", "any"])):
        case "as it is":
            return draw(st.sampled_from(pool))
        case "changed":
            changed = cut(draw(st.sampled_from(pool)), draw(st.integers(0, 500)), draw(st.sampled_from(CHARACTERS)))
            return draw(st.sampled_from(changed))
        case "word":
            return draw(st.sampled_from([*WORDS, *NAMES]))
    return draw(st.text(max_size=80))


@st.composite
def bodies(draw: st.DrawFn, pool: list[str]) -> bytes:
    """A body with some of the fields that are asked for, in one of the ways to write one, or nearly."""
    names = st.sampled_from(FIELDS)
    kind = draw(st.sampled_from(["json", "json", "json", "form", "form", "multipart", "any", "large"]))
    match kind:
        case "json":
            values = st.one_of(texts(pool).map(json.dumps), st.sampled_from([*NUMBERS, *OTHERS]))
            return draw(spelt(draw(st.lists(st.tuples(names.map(json.dumps), values), max_size=5))))
        case "form":
            pairs = draw(st.lists(st.tuples(names, texts(pool)), max_size=5))
            form = urlencode(pairs, errors="surrogatepass") + draw(
                st.sampled_from(["", "&", "%", "%ff", "&=&", "&a" * 1100])
            )
            return form.encode()
        case "multipart":
            parts = draw(st.lists(st.tuples(names, texts(pool), st.sampled_from(["", '; filename="x"'])), max_size=3))
            lines = [f'--x\r\nContent-Disposition: form-data; name="{n}"{f}\r\n\r\n{v}\r\n' for n, v, f in parts]
            return ("".join(lines) + draw(st.sampled_from(["--x--", "--x", "", "\r\n"]))).encode(
                "utf-8", "surrogatepass"
            )
        case "large":
            return draw(st.sampled_from([b"[", b'{"token":', b"x=1&", b"9", b" "])) * draw(
                st.sampled_from([900, 7_000, 70_000])
            )
    return draw(st.binary(max_size=60))


def in_header(text: str) -> str:
    """A text as a server hands it over: any bytes but line breaks, as Latin-1."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1").replace("\r", "").replace("\n", "")


@st.composite
def requests(draw: st.DrawFn, pool: list[str], sid: str) -> dict[str, Any]:
    """The arguments of ``Client.generic`` for a request to one of the endpoints."""
    path = draw(st.sampled_from(PATHS))
    text = quote(draw(texts(pool)).encode("utf-8", "surrogatepass"), safe="")
    query = draw(
        st.sampled_from(["", "", "?others=true", "?others=", "?others=%00&others=x", "?%ff=%ff", "?" + "a=&" * 1100])
    )
    values = st.one_of(st.sampled_from(HEADER_VALUES), st.text(max_size=30), texts(pool).map("Bearer {}".format))
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), values.map(in_header), max_size=3))
    body, content_type = draw(bodies(pool)), draw(st.sampled_from(TYPES))
    if draw(st.integers(0, 3)) == 0:
        names = ["username", "password", "refresh_token", "token"]
        body, content_type = json.dumps({name: draw(texts(pool)) for name in names}).encode(), "application/json"
    if "charset" in content_type:
        # With a query, Django itself fails at a charset that is none for text, before it calls anything.
        query = ""
    if path not in TOKEN_PATHS:
        headers.setdefault("HTTP_AUTHORIZATION", in_header(f"Bearer {draw(texts(pool))}"))
    return {
        "method": draw(st.sampled_from(METHODS)) if path not in TOKEN_PATHS or draw(st.integers(0, 9)) == 0 else "POST",
        "path": path.format(sid=sid, text=text) + query,
        "data": body,
        "content_type": content_type,
        # What is announced need not be what comes.
        "wsgi.input": BytesIO(body),
        **headers,
    }


@pytest.mark.parametrize("proxies", [None, 1])
def test_no_request_gets_a_5xx(user: Any, pair: TokenPair, settings: Any, proxies: int | None) -> None:
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    client, statuses = Client(), Counter[int]()
    previous, pair = pair, sessions.refresh(pair.refresh_token)
    pool = [pair.access_token, pair.refresh_token, previous.refresh_token, pair.session.sid, "alice", PASSWORD]

    @examples(120)
    @given(requests(pool, pair.session.sid))
    def check(request: dict[str, Any]) -> None:
        with undone():
            answer = client.generic(**request)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500
        assert answer.status_code != 401 or answer["WWW-Authenticate"].startswith("Bearer ")
        if "/auth/token" in request["path"] and answer.status_code != 200:
            shown = answer.content.decode() + str(answer.headers)
            assert not any(secret in shown for secret in (pair.access_token, pair.refresh_token, PASSWORD))

    check()
    print(f"\n{dict(statuses)}")
    assert {200, 400, 401, 404, 405} <= statuses.keys()


@st.composite
def refresh_texts(draw: st.DrawFn, token: str) -> str:
    """A refresh token, or nearly: its text or its bytes changed, or a body of another make."""
    data = b64url_decode(token.removeprefix(refresh_tokens.PREFIX))
    match draw(st.sampled_from(["bytes", "made", "made", "text", "end", "any"])):
        case "bytes":
            at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 3))
            data = data[:at] + draw(st.binary(max_size=5)) + data[at + length :]
        case "made":
            ids = st.sampled_from([data[1:17], new_id().bytes, bytes(16), b"\xff" * 16])
            numbers = st.one_of(
                st.binary(max_size=5), st.sampled_from([b"\x80\x00", b"\xff\xff\xff\xff\x0f", b"\0\0", b""])
            )
            data = (
                draw(st.sampled_from([b"\1", b"\1", b"\0", b""]))
                + draw(ids)
                + draw(numbers)
                + draw(st.sampled_from([data[-20:], bytes(20)]))
            )
        case "text":
            return draw(st.sampled_from(cut(token, draw(st.integers(0, 60)), draw(st.sampled_from(CHARACTERS)))))
        case "end":
            return token[:-1] + draw(st.sampled_from(ALPHABET))
        case "any":
            return draw(st.one_of(st.text(), st.from_regex(r"jrt_[A-Za-z0-9_-]{40,60}")))
    return refresh_tokens.PREFIX + b64url_encode(data)


def test_no_text_is_a_refresh_token_but_those_handed_out(user: Any, pair: TokenPair) -> None:
    second = sessions.refresh(pair.refresh_token)
    handed_out, read = {pair.refresh_token, second.refresh_token}, Counter[bool]()
    before = Session.objects.values().get()

    @examples(200)
    @given(refresh_texts(second.refresh_token))
    def check(text: str) -> None:
        try:
            presented = refresh_tokens.read(text)
        except InvalidTokenError:
            read[False] += 1
        else:
            read[True] += 1
            # It is the one and only way to write what it says.
            same = refresh_tokens.derive(presented.session_id, presented.generation, b"")
            body = b64url_decode(same.removeprefix(refresh_tokens.PREFIX))[: -refresh_tokens.MAC_BYTES]
            assert refresh_tokens.PREFIX + b64url_encode(body + presented.mac) == text
        if text not in handed_out:
            with pytest.raises(TokenError):
                sessions.refresh(text)
            assert sessions.find(text) is None

    check()
    assert min(read.values()) > 10
    assert Session.objects.values().get() == before
    assert not DenylistEntry.objects.exists()


ADMIN_PAGES = ["/admin/jwtauth/session/", "/admin/jwtauth/denylistentry/"]
PARAMETERS = [
    *("q", "p", "o", "e", "all", "state", "reason", "user", "created_at__gte", "created_at__lt", "denied_at__gte"),
    *("_to_field", "_popup", "_facets", "_changelist_filters", "expires_at", "nonce__contains", "user__password", "x"),
]
ADMIN_FIELDS = [
    *("token", "expires_at_0", "expires_at_1", "action", "_selected_action", "select_across", "index", "post", "_save"),
    *("_continue", "_popup", "_to_field", "csrfmiddlewaretoken", "_saveasnew", "claim", "value", "reason"),
]
ADMIN_VALUES = [
    *(
        "revoke_selected",
        "allow_again",
        "delete_selected",
        "yes",
        "0",
        "1",
        "-1",
        "live",
        "revoked",
        "logout",
        "None",
        "%",
    ),
    *(
        "9" * 19,
        "9" * 40,
        "9" * 5000,
        "2030-01-01",
        "9999-12-31",
        "0000-00-00",
        "23:59:59",
        "99:99",
        "10000-01-01",
        "_5F",
    ),
    *(
        "1900-01-01",
        "NaN",
        "\0",
        "a\0b",
        "1.2.3.",
        "::",
        "🙂",
    ),
]


@st.composite
def admin_requests(draw: st.DrawFn, pool: list[str], user: Any) -> dict[str, Any]:
    """The arguments of ``Client.generic`` for a request to one of the admin's pages or forms."""
    values = st.one_of(st.sampled_from([*pool, *ADMIN_VALUES]), texts(pool))
    page = draw(st.sampled_from(ADMIN_PAGES))
    key = quote(draw(values).encode("utf-8", "surrogatepass"), safe="")
    paths = [
        page,
        page,
        f"{page}add/",
        f"{page}add/",
        f"{page}{key}/change/",
        f"{page}{key}/history/",
        f"{page}{key}/delete/",
    ]
    of_users = [f"/admin/auth/user/{pk}/{name}/" for pk in (user.pk, key) for name in ("change", "revoke-sessions")]
    path = draw(st.sampled_from(paths + of_users))
    if path in of_users:
        # The page of a user is Django's own, and looks for a field that has no name.
        values = values.filter(bool)
    query = urlencode(
        draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), values), max_size=3)), errors="surrogatepass"
    )
    fields = draw(st.lists(st.tuples(st.sampled_from(ADMIN_FIELDS), values), max_size=4))
    if draw(st.booleans()):
        # As the page itself posts it, so that what is behind the first checks is reached.
        fields += [
            ("action", draw(st.sampled_from(["revoke_selected", "allow_again"]))),
            ("_selected_action", draw(values)),
        ]
        fields += [("index", "0"), ("select_across", draw(st.sampled_from(["0", "1"]))), ("token", draw(values))]
        fields += draw(st.sampled_from([[], [("post", "yes")]]))
    return {
        "method": draw(st.sampled_from(["GET", "POST"])),
        "path": f"{path}?{query}",
        "data": urlencode(fields, errors="surrogatepass").encode(),
        "content_type": "application/x-www-form-urlencoded",
    }


@pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")  # from a filter of Django's
def test_no_page_of_the_admin_fails(user: Any, pair: TokenPair) -> None:
    root = get_user_model().objects.create_superuser("root", password=PASSWORD)
    client, statuses = Client(), Counter[int]()
    client.force_login(root, "django.contrib.auth.backends.ModelBackend")
    denied = DenylistEntry.objects.create(value=new_id(), expires_at=pair.session.ends_at, reason="admin")
    sessions.revoke(sessions.start(user).session)
    pool = [str(pair.session.pk), pair.session.sid, str(user.pk), str(denied.pk), str(denied), encode_id(new_id())]
    secret = [pair.access_token, pair.refresh_token]

    @examples(60)
    @given(admin_requests(pool + secret, user))
    def check(request: dict[str, Any]) -> None:
        # What the last page had to say, perhaps of its own address, is not said by this one.
        client.cookies.pop("messages", None)
        with undone():
            answer = client.generic(**request)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500
        # What was pasted for a date comes back beside the error that says so.
        if not any(token in request["path"] for token in secret) and b"expires_at" not in request["data"]:
            assert not any(token in answer.content.decode() for token in secret)

    check()
    print(f"\n{dict(statuses)}")
    assert {200, 403} <= statuses.keys()
