"""Where the time of the bearer path goes: each step alone, on tokens of many users, the fastest of many rounds."""

import hmac
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from .harness import KEYS
from .works import environ

Step = tuple[str, Callable[[Any], Any], Sequence[Any]]


def measure(tokens: Sequence[str], rounds: int) -> list[tuple[str, float]]:
    """Return the steps of this app's ``authenticate`` and the seconds that each takes."""
    found = []
    for name, step, inputs in [*_steps(tokens)]:
        best = float("inf")
        for _ in range(rounds):
            begun = time.perf_counter()
            for each in inputs:
                step(each)
            best = min(best, (time.perf_counter() - begun) / len(inputs))
        found.append((name, best))
    return found


def _steps(tokens: Sequence[str]) -> list[Step]:
    from django_jwtauth import sessions, users
    from django_jwtauth.authentication import JWTAuthentication, _refusal
    from django_jwtauth.denylist.snapshot import denylist
    from django_jwtauth.jose.encoding import b64url_decode
    from django_jwtauth.jose.keys import Key
    from django_jwtauth.jose.strict_json import read_object
    from django_jwtauth.tokens import access as module

    codec = module.get_codec()
    claims = [sessions.verify(token) for token in tokens]
    [key] = codec.own.ring.by_kid.values()
    segments = [token.split(".") for token in tokens]
    signed = [(f"{header}.{body}".encode(), b64url_decode(signature)) for header, body, signature in segments]
    bodies = [b64url_decode(body) for _, body, _ in segments]
    secret = bytes(key.verifying_key) if key.is_symmetric else b""
    fresh = module.TokenCodec(codec.own)
    others = [Key.from_dict({"ALGORITHM": name, "PRIVATE_KEY": pem}) for name, pem in KEYS.items() if pem]
    return [
        ("seen: all of authenticate", JWTAuthentication().authenticate, [_request(token) for token in tokens]),
        ("seen: verify", sessions.verify, tokens),
        ("seen:   look the token up", codec.decode, tokens),
        ("seen:   and the clock", lambda each: codec.verify(each, time.time()), tokens),
        ("seen:   denylist", denylist.check, claims),
        ("seen: the lazy user", lambda each: users.get_user(each, _refusal, None), claims),
        ("never seen: decode", fresh.decode, tokens),
        ("never seen:   form", module._COMPACT.fullmatch, tokens),
        ("never seen:   base64url of the claims", b64url_decode, [body for _, body, _ in segments]),
        ("never seen:   JSON", read_object, bodies),
        ("never seen:   signature", partial(_verify, key), signed),
        ("never seen:   types of the claims", codec.own.read_claims, [read_object(body) for body in bodies]),
        ("for comparison: HMAC-SHA-256 alone", lambda each: hmac.digest(secret, each[0], "sha256"), signed),
        *(
            (
                f"for comparison: a signature of {other.algorithm} alone",
                partial(_verify, other),
                [(text, other.sign(text)) for text, _ in signed],
            )
            for other in others
        ),
    ]


def _verify(key: Any, each: tuple[bytes, bytes]) -> bool:
    return bool(key.verify(*each))


def _request(token: str) -> Request:
    request = Request(WSGIRequest(environ("/", f"Bearer {token}")))
    request.accepted_renderer = JSONRenderer()
    return request
