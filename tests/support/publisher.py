"""Another issuer: keys to sign with, and a server on this machine that publishes them."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django_jwtauth.jose.keys import Key
from tests.support import keys

ISS = "https://other.example.com"
THREADS = "The JWK Set of "


def jwk_set(*published: Key) -> bytes:
    """The document that publishes these keys."""
    return json.dumps({"keys": [key.public_jwk() for key in published]}).encode()


def named(algorithm: str, kid: str, name: str = "other") -> Key:
    """A key of another issuer, which names it so."""
    return Key.from_dict(keys.entry(algorithm, name, KID=kid))


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a token of another issuer, as few as may be."""
    return {"iss": ISS, "sub": "1", "aud": keys.AUDIENCE, "exp": keys.NOW * 2, **changes}


def token(key: Key, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token of another issuer; its header may have other members, and claims that are None are left out."""
    members = {name: value for name, value in claims(**changes).items() if value is not None}
    return keys.compact(key, keys.header(key, **(header or {})), members)


def finish_fetches() -> None:
    """Wait until no fetch is under way."""
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(timeout=10)
            assert not thread.is_alive()


class Publisher:
    """A server on 127.0.0.1 that counts what it is asked and answers with ``answer``."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.requests: list[bytes] = []
        self.answer: Callable[[socket.socket], None] = self.publish()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://localhost:{self.port}/jwks.json"
        self._threads = [threading.Thread(target=self._serve, args=[self._listener])]
        self._threads[0].start()

    def publish(self, *published: Key, headers: str = "") -> Callable[[socket.socket], None]:
        """Answer with these keys from now on."""
        return self.send(jwk_set(*published), headers=headers)

    def send(self, body: bytes, status: str = "200 OK", headers: str = "") -> Callable[[socket.socket], None]:
        """Answer with this body from now on."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
        return self.send_raw(head + body)

    def send_raw(self, data: bytes) -> Callable[[socket.socket], None]:
        """Answer with these bytes from now on."""
        self.answer = lambda connection: connection.sendall(data)
        return self.answer

    def stop(self) -> None:
        """Answer nobody any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        # A client that hangs up is no mistake here.
        with connection, suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                request = b""
                while not request.endswith(b"\r\n\r\n") and (data := connection.recv(4096)):
                    request += data
                self.requests.append(request)
                self.answer(connection)


@contextmanager
def publisher(context: ssl.SSLContext | None = None) -> Iterator[Publisher]:
    """Yield a server, then stop it."""
    server = Publisher(context)
    try:
        yield server
    finally:
        server.stop()
