"""Who is asking: the address and a short label of the client, as sessions show them."""

import ipaddress
import logging
import re
from functools import cache

from django.conf import settings
from django.http import HttpRequest

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
logger = logging.getLogger("django_jwtauth")

_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([^:]+):\d{1,5}")
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,39}")


def address(request: HttpRequest) -> str | None:
    """Return the client's address, or None where the server knows none.

    It is ``REMOTE_ADDR``; only where the REST framework's ``NUM_PROXIES`` says how many proxies
    stand before the server is ``X-Forwarded-For`` believed, and of it no more than those proxies
    wrote.
    """
    proxies = getattr(settings, "REST_FRAMEWORK", {}).get("NUM_PROXIES")
    candidate = request.META.get("REMOTE_ADDR") or ""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    if forwarded and proxies is None:
        warn_of_proxy()
    if proxies and forwarded:
        hops = forwarded.split(",")
        candidate = hops[-min(proxies, len(hops))]
    candidate = candidate.strip()
    if with_port := _WITH_PORT.fullmatch(candidate):
        # Some proxies tell the port as well: 192.0.2.1:443, [2001:db8::1]:443.
        candidate = with_port[1] or with_port[2]
    try:
        found = ipaddress.ip_address(candidate.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


@cache
def warn_of_proxy() -> None:
    """Warn once in this process."""
    logger.warning(
        "X-Forwarded-For arrives and REST_FRAMEWORK['NUM_PROXIES'] is not set. Behind a proxy all "
        "clients share its "
        "address, and with it their throttles. Set the number of proxies, or 0 if there is none."
    )


def label(request: HttpRequest) -> str:
    """Return a few words for the user agent, such as "Firefox on Linux"; empty where it names
    none."""
    agent = request.META.get("HTTP_USER_AGENT", "")
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    product = _PRODUCT.match(agent)
    return browser or (product.group().strip() if product else "")
