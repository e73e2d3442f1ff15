"""One small document by HTTP, from a server that is not trusted to be quick, brief or
well-behaved."""

import io
import ipaddress
import socket
import ssl
import time
from http.client import HTTPResponse
from urllib.parse import SplitResult, urlsplit

TIME_LIMIT = 5.0
"""Seconds for all of a download but the resolution of the name, however many bytes trickle in
meanwhile."""
SIZE_LIMIT = 64 * 1024
"""Bytes of an answer, status line and headers included."""
PORTS = {"https": 443, "http": 80}


class DownloadError(OSError):
    """The document was not had; the text says why, in words of our own."""


def is_safe_url(url: str) -> bool:
    """Whether a URL is one to download from: HTTPS, or plain HTTP on loopback, without credentials
    in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    return (
        all("!" <= character <= "~" for character in url)
        and host != ""
        and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))
        and port != 0
        and not (parts.fragment or "@" in parts.netloc or "\\" in url)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def download(url: str) -> bytes:
    """Return the body of the answer to a GET of a safe URL.

    No redirect is followed, no proxy used, no cookie kept, and no status but 200 is an answer.
    Raises
    ``OSError``, of which ``DownloadError`` is one, or ``http.client.HTTPException``.
    """
    deadline = time.monotonic() + TIME_LIMIT
    try:
        return _download(urlsplit(url), deadline)
    except TimeoutError as error:
        raise DownloadError(f"it took longer than {TIME_LIMIT:g} seconds") from error


def _download(parts: SplitResult, deadline: float) -> bytes:
    with _connect(parts, deadline) as connection:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.settimeout(_left(deadline))
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: django_jwtauth\r\n"
            "Accept: application/jwk-set+json, application/json\r\nAccept-Encoding: identity\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        with HTTPResponse(_Source(connection, deadline)) as response:  # type: ignore[arg-type]
            response.begin()
            if response.status != 200:
                raise DownloadError(f"the answer has status {response.status}")
            return response.read()


def _connect(parts: SplitResult, deadline: float) -> socket.socket:
    host = str(parts.hostname)
    error: OSError = OSError("the name has no address")
    addresses = socket.getaddrinfo(host, parts.port or PORTS[parts.scheme], type=socket.SOCK_STREAM)
    for position, (*kind, _, address) in enumerate(addresses):
        try:
            connection = socket.socket(*kind)
        except OSError as failure:  # of a family that this machine does not speak
            error = failure
            continue
        try:
            # Half of the time, but for the last one: an address that does not answer must leave
            # some for the next.
            is_last = position == len(addresses) - 1
            connection.settimeout(_left(deadline) / (1 if is_last else 2))
            connection.connect(address)
            connection.settimeout(_left(deadline))
            if parts.scheme == "https":
                return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        except OSError as failure:
            connection.close()
            error = failure
        else:
            return connection
    raise error


def _left(deadline: float) -> float:
    """Return the seconds that are left. Raises ``TimeoutError`` when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Source(io.RawIOBase):
    """What a connection sends, as the raw file that ``HTTPResponse`` makes of a socket."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._room = SIZE_LIMIT

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return itself, buffered."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read once. A time limit of the socket's own would begin anew with every byte."""
        self._connection.settimeout(_left(self._deadline))
        count = self._connection.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise DownloadError(f"the answer is longer than {SIZE_LIMIT} bytes")
        return count
