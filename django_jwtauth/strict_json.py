"""JSON objects (RFC 8259), read strictly: what two readers understand differently is refused."""

import json
from typing import Any

DEEPEST = 128
"""Arrays and objects inside each other. Python's own limit depends on its version and on how deep the caller is."""
WHITE_SPACE = " \t\r\n"  # of JSON; Python's own is more (RFC 8259 section 2)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("duplicate member names (RFC 7515 section 4)")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def read_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that these bytes are, in UTF-8 and with nothing but white space around it.

    Raises ``ValueError`` for anything else, for duplicate names, for NaN and infinities and for what is nested more
    than ``DEEPEST`` times; ``RecursionError`` where Python cannot even read that.
    """
    text = data.decode("utf-8")
    # Straight to the scanner; around an object there may be white space, but there hardly ever is.
    if text[:1] != "{":
        text = text.lstrip(WHITE_SPACE)
    value, end = _JSON.raw_decode(text)
    if not isinstance(value, dict) or text[end:].strip(WHITE_SPACE):
        raise ValueError("no JSON object")
    # Each takes two characters, and hardly anything opens so many, let alone inside each other.
    if len(text) > 2 * DEEPEST and text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value, DEEPEST)
    return value


def _check_depth(value: dict[str, Any] | list[Any], left: int) -> None:
    if left == 0:
        raise ValueError("nested too deep")
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            _check_depth(item, left - 1)
