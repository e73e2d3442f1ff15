"""Texts that are tokens, or nearly: made by the grammar of a JWT, with a mistake or an attack at any place of it.

JSON is kept as text here, because what is of interest, such as a number of 5,000 digits or a name that comes twice,
is lost in a dict.
"""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import strategies as st

from django_jwtauth.jose.encoding import b64url_encode
from django_jwtauth.jose.keys import Key
from tests.support import keys

NOW = int(time.time())
HOUR = 3600
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

NAMES = (
    *("alg", "kid", "typ", "crit", "b64", "cty", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc", "epk"),
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "scope", "scp", "cnf", "role", "", "é", "\ud800", "\0"),
)
NUMBERS = (
    *("0", "-0", "1", "-1", "0.0", "-0.0", "1.5", "1e3", "1E+3", "1e-400", "1e400", "-1e400", "1e15", "1e16", "1e300"),
    *(
        "9007199254740993",
        "9" * 400,
        "9" * 5000,
        "-" + "9" * 5000,
        "1." + "1" * 5000,
        "1" + "0" * 4299,
        "1e" + "9" * 99,
    ),
    *("NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10", "1_000", "१", "1e", "--1"),
    # Far from every edge of the clock, because not all readers are asked at the same instant.
    *map(str, (NOW, NOW - 60, NOW + HOUR, NOW - HOUR, NOW - 60.5, NOW + HOUR + 0.25, f"{NOW + HOUR}.0", f"{NOW}e0")),
)
WORDS = (
    *("", " ", "notes", "NOTES", "others", "1", "01", "at+jwt", "AT+JWT", "application/at+jwt", "JWT", "none", "None"),
    *("HS256", "hs256", "HS384", "RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519", "b64", "exp", "\0", "é", "ﬁ"),
    *("\ud800", "\udfff\ud800", "\u202e", "\ufeff", "x" * 300, "../../etc/passwd", "' OR 1=1 --", "../../dev/null"),
    *("https://evil.example/jwks.json", "file:///etc/passwd", keys.ISSUER, keys.ISSUER + "/", keys.SID, keys.JTI),
)
OTHERS = (
    *("null", "true", "false", "[]", "{}", "[[]]", "[null]", '["notes"]', '["notes","others"]', '["notes",1]', '[""]'),
    *("[" * 300 + "]" * 300, "[" * 1500 + "]" * 1500, '{"a":' * 250 + "1" + "}" * 250, "[" * 3000, "{" * 3000, "]"),
    *('{"a":{"b":[1,{"c":null}]}}', '{"a":1,"a":2}', '{"kty":"oct","k":"AAAA"}', '["exp"]', "", "undefined", "'a'"),
    *(r'"\u0061t+jwt"', r'"\ud83d\ude00"', r'"\ud83d"', r'"\x41"', '"\n"', '"\x7f"', '"\u2028"', "/**/1", "[1,]"),
)
HEADER_ATTACKS = (
    *(("crit", '["exp"]'), ("crit", "[]"), ("crit", '["b64"]'), ("crit", "null"), ("b64", "false"), ("b64", "true")),
    *(
        ("alg", '"none"'),
        ("alg", '"NONE"'),
        ("alg", '"HS384"'),
        ("alg", '"HS256"'),
        ("alg", '"ES384"'),
        ("alg", "null"),
    ),
    *(("alg", '["HS256"]'), ("typ", '"JWT"'), ("typ", ""), ("typ", "1"), ("kid", ""), ("kid", '"../../dev/null"')),
    *(("kid", "null"), ("kid", "[]"), ("kid", "{}"), ("jku", '"https://evil.example"'), ("x5u", "1"), ("zip", '"DEF"')),
)
CLAIM_ATTACKS = (
    *(
        ("exp", number)
        for number in ("1e400", "NaN", "-0", "9" * 5000, "1" + "0" * 400, '"9999999999"', "true", "", "1e16")
    ),
    *(
        ("iat", "1e400"),
        ("iat", "-1e400"),
        ("iat", "null"),
        ("nbf", "1e300"),
        ("nbf", "null"),
        ("aud", "[]"),
        ("aud", '[""]'),
    ),
    *(("aud", '"notes "'), ("sub", '""'), ("sub", "1"), ("iss", "[]"), ("iss", '""'), ("jti", '"x"'), ("sid", "null")),
    *(
        ("x", "[" * 1500 + "]" * 1500),
        ("x", "[" * 400 + "]" * 400),
        ("x", '{"a":1,"a":2}'),
        ("cnf", "{}"),
        ("scope", "[]"),
    ),
)
"""Single members that were used against one reader or another; those without a value are left out."""
WHITE_SPACE = ("", "", "", " ", "\n\t", "\r\n ", "\x0b", "\x0c", "\xa0", "\u2003", "\ufeff", "\0", ",", "{}", "//")
CHARACTERS = (
    *"AQgw_-09z",
    ".",
    "=",
    "+",
    "/",
    "\n",
    " ",
    "\0",
    "é",
    "\uff21",
    "\u0130",
    "\u200b",
    "\ud800",
    "\U0001f600",
)


def members(changes: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the members of a JSON object as their two texts."""
    return [(json.dumps(name), json.dumps(value)) for name, value in changes.items()]


def attacked(object_members: list[tuple[str, str]], attack: tuple[str, str]) -> list[tuple[str, str]]:
    """Members, of which one is another, or left out."""
    name, value = json.dumps(attack[0]), attack[1]
    return [member for member in object_members if member[0] != name] + ([(name, value)] if value else [])


def joined(object_members: list[tuple[str, str]]) -> bytes:
    """A JSON object."""
    pairs = ",".join(f"{name}:{value}" for name, value in object_members)
    return f"{{{pairs}}}".encode("utf-8", "surrogatepass")


@cache
def own_key_in(key: Key) -> list[str]:
    """Return values of header members that bring along a key of the attacker's, or ours."""
    stranger = keys.key("ES256", "stranger").public_jwk()
    own = {} if key.is_symmetric else key.public_jwk()
    return [json.dumps(value) for value in (stranger, own, [stranger], {"keys": [stranger]}, key.kid, [key.kid])]


TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12)).map(json.dumps)
VALUES = st.one_of(st.sampled_from(NUMBERS), TEXTS, st.sampled_from(OTHERS), st.sampled_from(NUMBERS))
NAME_TEXTS = st.one_of(
    st.sampled_from(NAMES).map(json.dumps), TEXTS, st.sampled_from([r'"\u0065xp"', r'"\u0061lg"', "a"])
)


@st.composite
def changed(draw: st.DrawFn, original: list[tuple[str, str]], further: list[str]) -> list[tuple[str, str]]:
    """Members, of which some are others, or gone, or there twice."""
    found = list(original)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(found)))
        value = draw(st.one_of(VALUES, st.sampled_from(further)) if further else VALUES)
        match draw(st.sampled_from(["replace", "replace", "drop", "add", "again"])):
            case "replace" if at < len(found):
                found[at] = (found[at][0], value)
            case "drop" if at < len(found):
                del found[at]
            case "again" if at < len(found):
                found.append((found[at][0], draw(st.sampled_from([found[at][1], value]))))
            case _:
                found.insert(at, (draw(NAME_TEXTS), value))
    return found


@st.composite
def spelt(draw: st.DrawFn, object_members: list[tuple[str, str]]) -> bytes:
    """A JSON object in one of the ways to write it, or nearly."""
    data = joined(object_members)
    if draw(st.integers(0, 5)) > 0:
        return data
    text = data.decode("utf-8", "surrogatepass")
    before, inside, after = (draw(st.sampled_from(WHITE_SPACE)) for _ in range(3))
    text = f"{before}{text.replace(':', f':{inside}', 2)}{after}"
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-16", "utf-16-le", "utf-32-be", "utf-8-sig", "utf-7"]))
    data = text.encode(encoding, "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 2)) :]
    return data


@st.composite
def segments(draw: st.DrawFn, data: bytes) -> str:
    """base64url, or nearly."""
    text = b64url_encode(data)
    match draw(st.integers(0, 30)):
        case 0:
            return base64.urlsafe_b64encode(data).decode()
        case 1:
            return base64.b64encode(data).decode()
        case 2 if text:
            return text[:-1] + ALPHABET[ALPHABET.index(text[-1]) ^ draw(st.integers(1, 63))]
        case 3:
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.sampled_from(CHARACTERS)) + text[at:]
    return text


def confused_signatures(key: Key, signing_input: bytes) -> list[bytes]:
    """Return signatures by other keys and algorithms, and those of the right one in another form."""
    good = key.sign(signing_input)
    half = len(good) // 2
    r, s = int.from_bytes(good[:half], "big"), int.from_bytes(good[half:], "big")
    found = [
        *(b"", b"\0", b"\0" * len(good), good[:-1], good[1:], good[:half], good + b"\0", b"\0" + good, good + good),
        *(good[half:] + good[:half], good[::-1], encode_dss_signature(r, s), bytes([good[0] ^ 1]) + good[1:]),
        *(good[:-1] + bytes([good[-1] ^ 1]), keys.key("HS256", "stranger").sign(signing_input)),
        keys.key("ES256", "stranger").sign(signing_input),
    ]
    return found + [taken_for_a_secret.sign(signing_input) for taken_for_a_secret in public_keys_as_secrets(key)]


@cache
def public_keys_as_secrets(key: Key) -> list[Key]:
    """Return HMAC keys made of what everybody knows: the oldest attack on JWTs."""
    if key.is_symmetric:
        return []
    like, pem = keys.key("HS256"), keys.public_pem(key.algorithm)
    secrets = [text.encode() for text in (pem, pem.strip(), json.dumps(key.public_jwk()))]
    return [Key(like.kid, "HS256", secret, secret, like.implementation) for secret in secrets]


def cut(text: str, at: int, character: str) -> list[str]:
    """Return a text with small changes at one place, and its parts in other orders."""
    at, parts = at % (len(text) + 1), text.split(".")
    return [
        *(text[:at] + character + text[at:], text[:at] + character + text[at + 1 :], text[:at] + text[at + 1 :]),
        *(text[:at], text[at:], text + character, character + text, text + ".", "." + text, text + "=", text * 2),
        *(".".join(parts[::-1]), ".".join(parts[:2]), ".".join([*parts, parts[-1]]), ".".join(["", *parts[1:]])),
        *(".".join([*parts[:2], ""]), ".".join([parts[0], "", parts[-1]]), text.swapcase(), text.replace(".", "..")),
    ]


def attacks(algorithm: str, **further: Any) -> list[str]:
    """Well signed tokens, each with one of the attacks above and nothing else wrong."""
    key = keys.key(algorithm)
    header, claims = members(keys.header(key)), members(keys.claims(iat=NOW - 60, exp=NOW + HOUR, **further))
    pairs = [(attacked(header, attack), claims) for attack in HEADER_ATTACKS]
    pairs += [(header, attacked(claims, attack)) for attack in CLAIM_ATTACKS]
    pairs += [([*header, (f'"{name}"', value)], claims) for name in ("jwk", "jku", "x5c") for value in own_key_in(key)]
    inputs = [".".join(b64url_encode(joined(part)) for part in pair) for pair in pairs]
    return [f"{text}.{b64url_encode(key.sign(text.encode()))}" for text in inputs]


@st.composite
def families(draw: st.DrawFn, algorithm: str, **further: Any) -> list[str]:
    """Several texts made of one header and one set of claims: signed as it should be, as it should not, and cut."""
    key = keys.key(algorithm)
    header, claims = members(keys.header(key)), members(keys.claims(iat=NOW - 60, exp=NOW + HOUR, **further))
    header, claims = draw(changed(header, own_key_in(key))), draw(changed(claims, []))
    signing_input = f"{draw(segments(draw(spelt(header))))}.{draw(segments(draw(spelt(claims))))}"
    data = signing_input.encode("utf-8", "surrogatepass")
    good = key.sign(data)
    texts = [f"{signing_input}.{b64url_encode(good)}", f"{signing_input}.{draw(segments(good))}"]
    texts += [f"{signing_input}.{b64url_encode(other)}" for other in confused_signatures(key, data)]
    return texts + cut(texts[0], draw(st.integers(0, 10_000)), draw(st.sampled_from(CHARACTERS)))
