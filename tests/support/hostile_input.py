"""What hostile input costs: ``python -m tests.support.hostile_input`` prints time and memory of the worst that we know.

docs/project/assurance/fuzzing.md shows its output. It takes about a minute, and starts a server.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django_jwtauth.errors import TokenError
from django_jwtauth.issuers.trusted import TrustedIssuer
from django_jwtauth.jose.encoding import b64url_encode
from django_jwtauth.jose.keys import Key
from django_jwtauth.jose.strict_json import read_object
from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.tokens.access import MAXIMUM_LENGTH, TokenCodec
from tests.support import keys, servers

OPENS = '{"a":'
CALLS = 200
MANY = 100_000
HELD = 30.0
"""Seconds for which slow clients hold on."""


def padded(make: Callable[[int], str], length: int = MAXIMUM_LENGTH) -> str:
    """Return the longest text that a function makes of a number and that is no longer than this."""
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(make(middle)) <= length else (low, middle - 1)
    return make(low)


def hostile_tokens(key: Key) -> dict[str, str]:
    """Return texts that are refused, or take long, by what they are."""
    header, claims, good = keys.header(key), keys.current_claims(), keys.segment(keys.header(key))
    return {
        "a good token": keys.compact(key, header, claims),
        "8 kB, a good signature, one long claim": padded(lambda n: keys.compact(key, header, {**claims, "x": "x" * n})),
        "8 kB, a good signature, 120 levels": padded(
            lambda n: keys.compact(key, header, {**claims, "x": nested(min(n, 120)), "y": "y" * n})
        ),
        "8 kB, nested to the end": padded(lambda n: f"{good}.{keys.segment(OPENS * n)}.AAAA"),
        "8 kB, many members": padded(
            lambda n: f"{good}.{keys.segment({**claims, **{str(i): i for i in range(n // 10)}})}.AAAA"
        ),
        "8 kB, one number of 4,000 digits": padded(
            lambda n: f"{good}.{keys.segment(OPENS + '9' * min(n, 4000) + '}')}.A"
        ),
        "8 kB, a long signature": padded(lambda n: f"{good}.{keys.segment(claims)}.{b64url_encode(bytes(n))}"),
        "1 MB, one character": "A" * 2**20,
        "1 MB, two dots": f"{good}.{'A' * 2**20}.AAAA",
        "1 MB, dots only": "." * 2**20,
        "1 MB, as a refresh token": "jrt_" + "A" * 2**20,
    }


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def cost(call: Callable[[], Any], calls: int = CALLS) -> tuple[float, float]:
    """Return the median microseconds of a call, and the kilobytes that it takes at most."""
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return statistics.median(times) * 1e6, peak / 1024


def refused(call: Callable[[str], Any], text: str) -> str:
    try:
        call(text)
    except TokenError as error:
        return error.code
    return "accepted"


def measure_tokens() -> None:
    for algorithm in ("HS256", "ES256"):
        codec = keys.codec(keys.key(algorithm))
        print(f"\n{'decode, ' + algorithm:<44}{'verdict':>14}{'us':>10}{'kB':>8}")
        for name, text in hostile_tokens(keys.key(algorithm)).items():
            read = refresh_tokens.read if text.startswith(refresh_tokens.PREFIX) else codec.decode
            took, memory = cost(lambda read=read, text=text: refused(read, text))
            print(f"{name:<44}{refused(read, text):>14}{took:>10.1f}{memory:>8.1f}")
    deep = OPENS.encode() * 1_000_000
    begun = time.perf_counter()
    try:
        read_object(deep)
    except (ValueError, RecursionError) as error:
        print(f"\n5 MB of JSON, nested: {type(error).__name__} after {(time.perf_counter() - begun) * 1e3:.1f} ms")


def kept_after(codec: TokenCodec, texts: Iterable[str]) -> tuple[float, float]:
    """Return the kilobytes that stay in memory once these were decoded, and the most that it took."""
    tracemalloc.start()
    for text in texts:
        refused(codec.decode, text)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / 1024, peak / 1024


def distinct_kids(key: Key, count: int) -> Iterator[str]:
    """Tokens that each name another key, none of them ours."""
    claims = keys.segment(keys.claims())
    return (f"{keys.segment(keys.header(key, kid=str(n)))}.{claims}.AAAA" for n in range(count))


LARGE: dict[str, Callable[[int], Any]] = {
    "objects": lambda n: [{"": 0}] * n,
    "255 objects, then numbers": lambda n: [[{"": 0}] * min(n, 250), [300] * max(n - 250, 0)],
    "arrays": lambda n: [[0]] * n,
    "numbers": lambda n: [300] * n,
    "members": lambda n: {str(number): 0 for number in range(n)},
    "texts": lambda n: ["\U0001f600"] * n,
}
"""Claims that take much more memory than the text they are written in."""


def large_tokens(kind: str, count: int, cache_size: int) -> tuple[TokenCodec, Iterator[str]]:
    """Return a codec that trusts another issuer, and well signed tokens of that issuer of nearly 8 kB."""
    key = keys.key("HS256")
    entry = keys.entry("HS256", KID=key.kid)
    trusted = TrustedIssuer(iss=keys.ISSUER, keys=[entry], audience=keys.AUDIENCE)

    def compact(size: int, number: int = 0) -> str:
        content = json.dumps(keys.claims(sub=f"{number:06}", x=LARGE[kind](size)), separators=(",", ":"))
        return keys.compact(key, keys.header(key), content)

    size = next(size for size in range(6000, 0, -25) if len(compact(size)) <= MAXIMUM_LENGTH)
    return TokenCodec(keys.issuer(iss="own"), {keys.ISSUER: trusted}, cache_size), (
        compact(size, number) for number in range(count)
    )


def measure_cache() -> None:
    for kind in LARGE:
        codec, texts = large_tokens(kind, 4096, cache_size=4096)
        kept, _ = kept_after(codec, texts)
        print(f"a full cache of a trusted issuer's tokens, {kind}: {kept / 1024:.0f} MB kept")


def measure_memory() -> None:
    key = keys.key("HS256")
    codec = keys.codec(key, cache_size=4096)
    for name, texts in {
        "distinct kids": distinct_kids(key, MANY),
        "distinct good tokens": (keys.compact(key, keys.header(key), keys.claims(sub=str(n))) for n in range(MANY)),
    }.items():
        kept, peak = kept_after(codec, texts)
        print(f"{MANY:,} {name}: {kept:.0f} kB kept, {peak:.0f} kB at most")


@contextmanager
def slow_clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Clients that announce a body and send one byte of it."""
    opened = []
    try:
        for _ in range(count):
            client = socket.create_connection((servers.HOST, port), timeout=5)
            client.sendall(
                b"POST /auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 60000\r\n\r\n{"
            )
            opened.append(client)
        yield opened
    finally:
        for client in opened:
            client.close()


def resident(pid: int) -> float:
    """Return the megabytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def answered(port: int, **request: Any) -> str:
    """Send one request; tell how it was answered and when."""
    begun = time.perf_counter()
    connection = servers.Connection(port, timeout=HELD / 2)
    try:
        status = str(connection.request(**{"method": "GET", "path": "/api/ping/", **request}).status)
    except OSError as error:
        status = type(error).__name__
    finally:
        connection.close()
    return f"{status} after {(time.perf_counter() - begun) * 1e3:.0f} ms"


def measure_server() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = servers.sqlite_database(folder)
        servers.manage(url, "migrate", "--verbosity", "0")
        with servers.serve(url, folder, workers=1) as server:
            connection = servers.Connection(server.port)
            worker = connection.request("GET", "/.well-known/jwks.json").worker
            connection.close()
            print(f"\ngunicorn, one gthread worker of 4 threads, {resident(worker):.0f} MB")
            post = {"method": "POST", "path": "/auth/token/"}
            for what, request in {
                "no token": {},
                "8 kB token": {"headers": {"Authorization": f"Bearer {'A' * 7900}.B.C"}},
                "100 kB token": {"headers": {"Authorization": f"Bearer {'A' * 100_000}.B.C"}},
                "60 kB body, nested": {**post, "data": {"username": {"a": ["[" * 60_000]}}},
                "1 MB body": {**post, "data": {"username": "x" * 2**20}},
                "1,100 form fields": {**post, "form": [("a", "b")] * 1100},
            }.items():
                print(f"{what:<24}{answered(server.port, **request)}")
            for _ in range(300):
                answered(server.port, **post, data={"username": "x" * 2**20})
            print(f"{'after 300 of 1 MB':<24}{resident(worker):.0f} MB")
            for count in (3, 4, 40):
                with slow_clients(server.port, count):
                    time.sleep(0.5)
                    print(f"{count} slow bodies: a request beside them {answered(server.port)}")
                print(f"{'and once they are gone':<24}{answered(server.port)}")


if __name__ == "__main__":
    measure_tokens()
    measure_memory()
    measure_cache()
    measure_server()
