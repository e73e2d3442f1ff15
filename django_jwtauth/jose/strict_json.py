"""JSON objects (RFC 8259), read strictly: what two readers understand differently is refused."""

import json
import re
from typing import Any

MAX_DEPTH = 128
"""Maximum nesting of arrays and objects. Python's own limit depends on its version and on the depth
of the caller."""
MAX_CONTAINERS = 2048
"""Maximum number of arrays and objects."""
WHITE_SPACE = " \t\r\n"  # of JSON; Python's own is more (RFC 8259 section 2)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("duplicate member names (RFC 7515 section 4)")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# The next bracket outside of strings, or the end. It matches at every position, and possessively:
# it is linear.
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?)*+([\[\]{}]|\Z)', re.DOTALL)
_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def read_object(data: bytes, most: int = MAX_CONTAINERS) -> dict[str, Any]:
    """Return the JSON object that these bytes are, in UTF-8 and with nothing but white space around
    it.

    ``most``, at least ``MAX_DEPTH``, is the maximum number of arrays and objects. Raises
    ``ValueError`` for anything else, for duplicate names, for NaN and infinities and for what
    ``check_nesting`` refuses; ``RecursionError`` if the call stack itself is too deep.
    """
    # Each array and object takes two characters: less is never too deep, nor too many.
    if len(data) > 2 * MAX_DEPTH:
        check_nesting(data, most)
    text = data.decode("utf-8")
    # Straight to the scanner; around an object there may be white space, but there hardly ever is.
    if text[:1] != "{":
        text = text.lstrip(WHITE_SPACE)
    value, end = _JSON.raw_decode(text)
    if not isinstance(value, dict) or text[end:].strip(WHITE_SPACE):
        raise ValueError("no JSON object")
    return value


def check_nesting(data: bytes, most: int = MAX_CONTAINERS) -> None:
    """Refuse JSON in UTF-8 that is nested deeper than ``MAX_DEPTH`` or exceeds ``most`` containers.

    Call this before parsing. Python's scanner recurses in C: deep JSON overflows the stack of a
    thread with a small one and ends the process, where no exception can be caught. Raises
    ``ValueError``.
    """
    if data.count(b"[") + data.count(b"{") <= min(MAX_DEPTH, most):
        return
    depth = containers = 0
    for bracket in _BRACKET.finditer(data):
        if bracket[1] in {b"[", b"{"}:
            depth += 1
            containers += 1
            if depth > MAX_DEPTH or containers > most:
                raise ValueError(
                    f"JSON nested deeper than {MAX_DEPTH}, or with over {most} arrays and objects"
                )
        else:
            depth -= 1
