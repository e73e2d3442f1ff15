"""Hostile input is refused at little cost. ``python -m tests.support.hostile_input`` tells how little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from http import HTTPStatus

import pytest
from django.urls import resolve
from rest_framework.test import APIRequestFactory

from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.views.parsers import LONGEST_BODY
from tests.support import keys
from tests.support.hostile_input import LARGE, cost, distinct_kids, hostile_tokens, kept_after, large_tokens, refused


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_no_token_takes_half_a_megabyte_and_none_of_a_megabyte_is_copied(algorithm: str) -> None:
    codec = keys.codec(keys.key(algorithm))
    for name, text in hostile_tokens(keys.key(algorithm)).items():
        read = refresh_tokens.read if text.startswith(refresh_tokens.PREFIX) else codec.decode
        _, memory = cost(lambda read=read, text=text: refused(read, text), calls=1)
        assert memory < (10 if name.startswith("1 MB") else 500), name


def test_tokens_that_name_keys_by_the_thousand_leave_nothing_in_memory() -> None:
    key = keys.key("HS256")
    codec = keys.codec(key, cache_size=4096)
    kept, _ = kept_after(codec, distinct_kids(key, 3000))
    assert kept < 30


IN_A_SMALL_THREAD = """
import io, os, sys, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from rest_framework.exceptions import ParseError
from django_jwtauth.views import StrictJSONParser

def read():
    try:
        StrictJSONParser().parse(io.BytesIO(body))
    except ParseError:
        print("refused")

body = sys.stdin.buffer.read()
threading.stack_size(128 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("opening", [b"[", b'{"":'])
def test_a_deep_body_ends_no_process_whose_threads_have_small_stacks(opening):
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SMALL_THREAD],
        input=full(b"", opening),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout.split()) == (0, [b"refused"]), done.stderr


PATHS = ["/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/"]
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
CODECS = ["punycode", "idna", "utf-7", "utf-16", "rot13", "base64", "unicode_escape", "latin-1", "nonsense"]


def full(head: bytes, filling: bytes, tail: bytes = b"") -> bytes:
    """Return the longest body that is read, filled with copies of a text."""
    return head + filling * ((LONGEST_BODY - len(head) - len(tail)) // len(filling)) + tail


def headers(text: str) -> bytes:
    """Return a part of a multipart body with this text in its headers."""
    return f'--x\r\nContent-Disposition: form-data; name="a"{text}\r\n\r\n\r\n'.encode()


def fastest(path: str, body: bytes, content_type: str) -> tuple[int, float]:
    """Return the status of the answer, and the seconds of CPU that the view took for it."""
    took = []
    for _ in range(5):
        request = APIRequestFactory().generic("POST", path, body, content_type=content_type)
        begun = time.process_time()
        answer = resolve(path).func(request)
        took.append(time.process_time() - begun)
    return answer.status_code, min(took)


@pytest.mark.parametrize("path", PATHS)
class TestBodies:
    @pytest.mark.parametrize("charset", CODECS)
    @pytest.mark.parametrize("media_type", [JSON, FORM, MULTIPART])
    def test_a_charset_other_than_utf_8_is_415_and_costs_nothing(self, db, path, media_type, charset):
        status, took = fastest(path, full(b"-", b"a"), f"{media_type}; charset={charset}")
        assert status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        assert took < 0.005

    @pytest.mark.parametrize(
        "parameter", ["charset*=utf-8''%70unycode", 'CHARSET="Punycode"', "charset=utf-8; charset=idna"]
    )
    def test_no_spelling_of_the_parameter_hides_the_charset(self, db, path, parameter):
        assert fastest(path, full(b"-", b"a"), f"{JSON}; {parameter}")[0] == HTTPStatus.UNSUPPORTED_MEDIA_TYPE

    @pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "utf8", "us-ascii", "ASCII"])
    def test_utf_8_and_ascii_are_read(self, db, path, charset):
        body = b'{"username": "a", "password": "b", "token": "c", "refresh_token": "d"}'
        assert fastest(path, body, f"{JSON}; charset={charset}")[0] in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}

    @pytest.mark.parametrize("text", [";" * 900, "; b*=punycode''" + "%61" * 300, '; b="' + '\\"' * 450 + '"'])
    def test_costly_headers_of_many_parts_are_not_parsed(self, db, path, text):
        status, took = fastest(path, full(b"", headers(text), b"--x--\r\n"), MULTIPART)
        assert status == HTTPStatus.BAD_REQUEST
        assert took < 0.005

    @pytest.mark.parametrize("opens", [b"[", b'{"a":'])
    def test_json_that_is_nested_deep_is_400_and_costs_little(self, db, path, opens):
        status, took = fastest(path, full(b"", opens), JSON)
        assert status == HTTPStatus.BAD_REQUEST
        assert took < 0.01

    def test_brackets_in_a_password_are_not_counted(self, db, path):
        body = json.dumps(dict.fromkeys(("username", "password", "token", "refresh_token"), "[{" * 200)).encode()
        assert fastest(path, body, JSON)[0] in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}

    def test_the_charset_of_a_part_is_not_used(self, db, path):
        part = headers("\r\nContent-Type: text/plain; charset=punycode")
        status, took = fastest(path, full(part.removesuffix(b"\r\n"), b"a", b"\r\n--x--\r\n"), MULTIPART)
        assert status == HTTPStatus.BAD_REQUEST
        assert took < 0.05


@pytest.mark.parametrize("kind", sorted(LARGE))
def test_large_claims_of_a_trusted_issuer_do_not_fill_the_memory(kind: str) -> None:
    codec, texts = large_tokens(kind, 40, cache_size=24)
    kept, _ = kept_after(codec, texts)
    assert kept < 24 * 30
