"""What is timed. A work makes its inputs outside of the timing and checks that the product did what it should."""

import gc
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from .products import PRODUCT, Tokens

Holder = tuple[Any, Tokens]
"""A user and what a login gave them."""
CHUNK = 250
"""The most inputs that are made at once: new objects, but still in the processor's caches, as in a server."""
application: Any = WSGIHandler()


def ensure(condition: object, what: str) -> None:
    """Stop where two products would not do the same work."""
    if not condition:
        raise AssertionError(what)


def succeeds(act: Callable[[Any], Any], item: Any) -> bool:
    """Tell whether it goes without an exception."""
    try:
        act(item)
    except Exception:
        return False
    return True


def environ(path: str, header: str = "", body: bytes | None = None) -> dict[str, Any]:
    """Return a WSGI environment as a server makes it."""
    made = {
        "REQUEST_METHOD": "GET" if body is None else "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body or b"")),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost:8000",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body or b""),
    }
    return made | {"HTTP_AUTHORIZATION": header} if header else made


def call(env: dict[str, Any]) -> tuple[int, bytes]:
    """Send a request through the whole of Django, signals and all; return status and body."""
    status: list[str] = []
    response = application(env, lambda line, headers: status.append(line))
    body = b"".join(response)
    response.close()
    return int(status[0][:3]), body


class Work:
    """Something a product does, once per input."""

    act: Callable[[Any], Any]

    def __init__(self, holders: deque[Holder]) -> None:
        self.holders = holders

    def make(self, count: int) -> list[Any]:
        """Return so many inputs."""
        raise NotImplementedError

    def finish(self) -> None:
        """Look after what was given."""

    def check(self) -> None:
        """Do it a few times and look at what comes back."""
        raise NotImplementedError

    def next_holders(self, count: int) -> list[Holder]:
        """Return users in turn; afterwards they are the last ones in the queue."""
        self.holders.rotate(-count)
        return [self.holders[place] for place in range(-count, 0)]

    def prepare(self, seconds: float) -> float:
        """Check, find how many calls take so many seconds, and return the queries of most calls."""
        self.check()
        found = []
        for item in self.make(20):
            with CaptureQueriesContext(connection) as queries:
                self.act(item)
            found.append(len(queries))
        self.finish()
        self.count = 1
        while (taken := self.time(self.count) * self.count) < seconds / 2:
            self.count *= 2
        self.count = max(1, round(self.count * seconds / taken))
        return statistics.median(found)

    def time(self, count: int) -> float:
        """Return the seconds a call takes on average.

        One call goes before: what is due every few seconds, such as a reload of the denylist, would else fall
        into these few milliseconds at almost every round. What it costs is a figure of its own.
        """
        taken, left, act = 0.0, count, self.act
        gc.collect()
        act(self.make(1)[0])
        self.finish()
        while left:
            inputs = self.make(min(left, CHUNK, len(self.holders)))
            left -= len(inputs)
            start = time.perf_counter()
            for item in inputs:
                act(item)
            taken += time.perf_counter() - start
            self.finish()
        return taken / count


class Authenticate(Work):
    """``authenticate`` alone, with new request objects and header strings; ``fresh``: with new tokens, too."""

    def __init__(self, holders: deque[Holder], label: str = "", fresh: bool = False) -> None:
        super().__init__(holders)
        self.fresh = fresh
        self.act = PRODUCT.load(f"{PRODUCT.authentication}.{label or PRODUCT.classes[0]}")().authenticate

    def make(self, count: int) -> list[Any]:
        self.asking = self.next_holders(count)
        return [self.request(PRODUCT.mint(user) if self.fresh else tokens.access) for user, tokens in self.asking]

    def request(self, access: str) -> Request:
        request = Request(WSGIRequest(environ("/", f"{PRODUCT.scheme} {access}")))
        # Which a view has chosen before it authenticates.
        request.accepted_renderer = JSONRenderer()
        return request

    def check(self) -> None:
        """See that the token's user is found, and that a token with another signature is refused."""
        for request, (user, _) in zip(self.make(20), self.asking, strict=True):
            ensure(str(self.act(request)[0].pk) == str(user.pk), "another user was authenticated")
            access = request.META["HTTP_AUTHORIZATION"].split()[1]
            ensure(not succeeds(self.act, self.request(access[:-9] + access[:-10:-1])), "a spoilt token was accepted")


class Who(Work):
    """A whole request to the trivial view."""

    def __init__(self, holders: deque[Holder], label: str) -> None:
        super().__init__(holders)
        self.label = label

    def make(self, count: int) -> list[Any]:
        self.asking = self.next_holders(count)
        return [environ(f"/who/{self.label}/", f"{PRODUCT.scheme} {tokens.access}") for _, tokens in self.asking]

    def act(self, env: Any) -> None:
        status, self.answer = call(env)
        ensure(status == 200, f"the view answered {status}")

    def check(self) -> None:
        """See that the view knows who asks."""
        for env, (user, _) in zip(self.make(20), self.asking, strict=True):
            self.act(env)
            expected = None if self.label == "none" else str(user.pk)
            found = json.loads(self.answer)["user_id"]
            ensure(found is expected or str(found) == expected, "the view saw another user")


class Exchange(Work):
    """Obtain, refresh or revoke: an endpoint, or with ``direct`` the function behind it."""

    def __init__(self, holders: deque[Holder], endpoint: str, direct: bool = False) -> None:
        super().__init__(holders)
        self.endpoint, self.direct = endpoint, direct
        self.given: list[Any] = []

    def make(self, count: int) -> list[Any]:
        """Return requests, or refresh tokens. Each refresh token is used once; what is revoked is a new login."""
        self.asking = self.next_holders(count)
        if self.endpoint == "revoke":
            self.asking = [(user, PRODUCT.issue(user)) for user, _ in self.asking]
        return [tokens.refresh if self.direct else self.request(user, tokens) for user, tokens in self.asking]

    def request(self, user: Any, tokens: Tokens) -> dict[str, Any]:
        body = json.dumps(PRODUCT.body(self.endpoint, user, tokens)).encode()
        return environ(f"/{self.endpoint}/", PRODUCT.header(self.endpoint, user, tokens), body)

    def act(self, item: Any) -> None:
        if self.direct:
            self.given.append(PRODUCT.refresh(item))
            return
        status, body = call(item)
        ensure(200 <= status < 300, f"{self.endpoint} answered {status}")
        self.given.append(body)

    def finish(self) -> None:
        """Read what the exchanges gave; the holders go on with the new refresh tokens."""
        if not self.direct and self.endpoint != "revoke":
            self.given = [PRODUCT.read(json.loads(body)) for body in self.given]
        if self.endpoint == "refresh":
            for place, tokens in enumerate(self.given, -len(self.given)):
                self.holders[place] = self.holders[place][0], tokens
        self.done, self.given = self.given, []

    def check(self) -> None:
        """See that a new token is good for the same user, and that one revoked is good for nothing."""
        for item in self.make(10):
            self.act(item)
        self.finish()
        authenticate = Authenticate(deque())
        for (user, old), new in zip(self.asking, self.done, strict=True):
            if self.endpoint != "revoke":
                ensure(authenticate.act(authenticate.request(new.access))[0].pk == user.pk, "a token of another user")
                ensure(new != old, "the same token again")
            elif old.refresh:
                ensure(not succeeds(PRODUCT.refresh, old.refresh), "a revoked login was refreshed")
            else:
                ensure(not succeeds(authenticate.act, authenticate.request(old.access)), "a revoked token was accepted")


class Check(Work):
    """The denylist's check of claims that it does not hold, with ids that were never hashed."""

    def __init__(self, holders: deque[Holder]) -> None:
        super().__init__(holders)
        self.act = PRODUCT.load("denylist.denylist").check

    def make(self, count: int) -> list[Any]:
        return [self.claims(PRODUCT.load("encoding.new_id")()) for _ in range(count)]

    def claims(self, sid: Any) -> Any:
        encode_id, new_id = PRODUCT.load("encoding.encode_id"), PRODUCT.load("encoding.new_id")
        ids = {"jti": encode_id(new_id()), "sid": encode_id(sid)}
        return PRODUCT.load("claims.Claims")(iss="i", sub="1", aud=("i",), exp=2**40, iat=0, **ids)

    def check(self) -> None:
        """See that an id of the denylist is refused."""
        entry = PRODUCT.load("models.DenylistEntry").objects.first()
        ensure(not succeeds(self.act, self.claims(entry.value)), "a denied token was accepted")


WORKS: dict[str, type[Work]] = {"authenticate": Authenticate, "who": Who, "exchange": Exchange, "check": Check}
