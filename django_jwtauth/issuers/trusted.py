"""The issuers of ``TRUSTED_ISSUERS``, whose access tokens are accepted beside our own.

Their keys are written in the settings or fetched as a JWK Set.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from ..claims import REGISTERED, Claims
from ..conf import Config, get_config
from ..errors import InvalidTokenError
from ..jose.jwk_set import ASYMMETRIC
from ..jose.key_parsing import UnusableKeyError
from ..jose.keys import Key, KeyRing, thumbprint
from ..process.memory import cached_by_settings
from ..rules.members import Problem, Rule, check_members, raise_first
from ..rules.values import (
    dict_of,
    hook,
    instance_of,
    is_filled_list,
    is_text,
    list_of,
    none_or,
    one_or_more,
)
from .claim_rules import read_claims_of_another
from .download import is_safe_url
from .issuer import ACCEPTED_TYPES
from .jwks import FetchedRing


@dataclass(frozen=True, kw_only=True, eq=False)
class TrustedIssuer:
    """One entry of ``TRUSTED_ISSUERS``, one attribute a member, in lower case; an ``Issuer``."""

    iss: str
    jwks_url: str | None = None
    """Where the issuer publishes its keys as a JWK Set (RFC 7517 section 5)."""
    keys: list[dict[str, Any]] | None = field(default=None, repr=False)
    """The keys themselves, written as in ``SIGNING_KEYS``, but to verify only."""
    audience: str | list[str] | tuple[str, ...] | None
    """What its ``aud`` must hold, or one of these. None: ``required_claims`` decide instead."""
    algorithms: list[str] | tuple[str, ...] = ASYMMETRIC
    """Other keys of a fetched set are left out. It settles the ``alg`` of keys that name none."""
    typ: str | list[str | None] | tuple[str | None, ...] | None = "at+jwt"
    """The header ``typ``; None where the issuer writes none."""
    required_claims: Mapping[str, Any] = field(default_factory=dict)
    """Claims and the value, or one of the values, that each must have."""
    subject_claim: str | None = None
    """The claim that names the subject, text or an integer. None: ``sub``, which must be text."""
    user: str | Callable[..., Any] | None = None
    """``(claims) -> user or None``, or its dotted path. None: its subjects have no users here."""

    needs_kid = False

    @cached_property
    def accepted_audiences(self) -> frozenset[str] | None:
        """The audience as the verifier compares it."""
        if self.audience is None:
            return None
        return frozenset([self.audience] if isinstance(self.audience, str) else self.audience)

    @cached_property
    def accepted_types(self) -> frozenset[str | None]:
        """The types as the verifier compares them.

        In lower case, with and without ``application/`` (RFC 7515 section 4.1.9).
        """
        names = {None if name is None else name.lower() for name in _listed(self.typ)}
        in_full = {name for name in names if name and name.count("/") == 1}
        names |= {name.removeprefix("application/") for name in in_full}
        names |= {f"application/{name}" for name in names if name and "/" not in name}
        return frozenset(names)

    @property
    def is_confusable(self) -> bool:
        """Whether only the audience tells access tokens from other JWTs (RFC 8725 section 3.12)."""
        return not self.required_claims and not self.accepted_types <= ACCEPTED_TYPES

    @property
    def keys_without_kid(self) -> list[int]:
        """Positions of ``keys`` that neither the issuer's ``kid`` nor their algorithm can
        select."""
        if not isinstance(self.ring, KeyRing):
            return []
        pairs = list(zip(self.keys or (), self.ring.keys, strict=True))
        count = Counter(key.algorithm for _, key in pairs)
        return [
            position
            for position, (entry, key) in enumerate(pairs)
            if count[key.algorithm] > 1 and entry.get("KID") is None and _is_default_kid(key)
        ]

    @cached_property
    def user_hook(self) -> Callable[..., Any] | None:
        """The callable behind ``user``."""
        return import_string(self.user) if isinstance(self.user, str) else self.user

    @cached_property
    def ring(self) -> KeyRing | FetchedRing:
        """The keys. Raises ``UnusableKeyError``."""
        if self.jwks_url is not None:
            return FetchedRing(self.iss, self.jwks_url, tuple(self.algorithms))
        return KeyRing([_load_public(*place) for place in enumerate(self.keys or ())])

    def read_claims(self, values: dict[str, Any]) -> Claims:
        """Return the claims of a token with a good signature. Raises ``InvalidTokenError``."""
        claims = read_claims_of_another(values, self._subject_of(values))
        if not self._is_met_by(values):
            raise InvalidTokenError("claims")
        return claims

    def _subject_of(self, claims: Mapping[str, Any]) -> Any:
        """Return the subject; it is text if the claims are well-formed."""
        subject = claims.get(self.subject_claim or "sub")
        return str(subject) if self.subject_claim and type(subject) is int else subject

    def _is_met_by(self, claims: Mapping[str, Any]) -> bool:
        """Whether claims meet ``required_claims``; of an array, one item must."""
        return all(_values(claims.get(name)) & accepted for name, accepted in self._accepted_values)

    @cached_property
    def _accepted_values(self) -> list[tuple[str, set[tuple[bool, Any]]]]:
        return [(name, _values(accepted)) for name, accepted in self.required_claims.items()]


def _is_default_kid(key: Key) -> bool:
    return key.kid == thumbprint(key.implementation.to_jwk(key.verifying_key, as_dict=True))[:8]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _values(value: Any) -> set[tuple[bool, Any]]:
    # Told apart, or True would be 1. Not by their types, which in settings may be those of an enum.
    return {
        (isinstance(item, bool), item) for item in _listed(value) if isinstance(item, str | int)
    }


def _load_public(position: int, entry: Any) -> Key:
    try:
        key = Key.from_dict(entry)
    except UnusableKeyError as error:
        raise UnusableKeyError(f"KEYS[{position}]: {error}") from error
    if key.signing_key is not None and not key.is_symmetric:
        raise UnusableKeyError(
            f"KEYS[{position}]: This is a private key. Write the PUBLIC_KEY of it, which is enough."
        )
    return key


MEMBERS = {
    "JWKS_URL": Rule(
        lambda value: isinstance(value, str) and is_safe_url(value),
        "Write an https URL without credentials, such as "
        '"https://id.example.com/.well-known/jwks.json"; http is for 127.0.0.1 and localhost. '
        "Where the issuer has no TLS, as in a private network, give it TLS or write its public "
        "keys as KEYS instead.",
    ),
    "KEYS": Rule(
        is_filled_list,
        'Write a non-empty list of keys such as [{"ALGORITHM": "ES256", "PUBLIC_KEY": '
        'Path("issuer.pem"), "KID": "the kid in its tokens"}].',
    ),
    "AUDIENCE": Rule(
        none_or(one_or_more(is_text)),
        'Write what the issuer puts into "aud" for this service: a string, or a list of which one '
        "is enough; or None, and then REQUIRED_CLAIMS.",
    ),
    "ALGORITHMS": Rule(
        list_of(lambda name: name in ASYMMETRIC),
        f'Write a list such as ["RS256"], of {", ".join(ASYMMETRIC)}.',
    ),
    "TYP": Rule(
        one_or_more(none_or(is_text)),
        'Write what its tokens have in the header "typ", such as "at+jwt" or "JWT"; None where '
        "they have none.",
    ),
    "REQUIRED_CLAIMS": Rule(
        dict_of(one_or_more(instance_of(str, int))),
        "Write a dict of claims and the value, or the list of values of which one is enough, such "
        'as {"token_use": "access", "client_id": ["web", "app"]}.',
    ),
    "SUBJECT_CLAIM": Rule(
        none_or(lambda value: is_text(value) and value not in REGISTERED - {"sub"}),
        'Write the claim that names the subject, such as "user_id"; "sub" where that is a number; '
        "or leave it out where sub is text.",
    ),
    "USER": Rule(
        hook("claims"),
        'Write a callable or its dotted path such as "accounts.tokens.user"; '
        "it takes (claims) and returns a user or None.",
    ),
}


def find_problems(config: Config) -> list[Problem]:
    """Return every mistake that can be seen in the entries of ``TRUSTED_ISSUERS`` alone."""
    problems = []
    for iss, entry in config.trusted_issuers.items():
        place = f"JWTAUTH['TRUSTED_ISSUERS'][{iss!r}]"
        problems += check_members(place, entry, MEMBERS, id="jwtauth.E026") or [
            Problem("jwtauth.E027", f"{place} {wrong}", hint)
            for wrong, hint in _find_contradictions(config, iss, entry)
        ]
    return problems


def _find_contradictions(
    config: Config,
    iss: str,
    entry: Mapping[str, Any],
) -> Iterator[tuple[str, str]]:
    if iss == config.issuer:
        yield "is this service's own ISSUER.", "Leave it out: its own tokens are accepted already."
    if ("JWKS_URL" in entry) == ("KEYS" in entry):
        yield (
            "has both or neither of JWKS_URL and KEYS.",
            f"{MEMBERS['JWKS_URL'].hint} Write one of the two.",
        )
    if "KEYS" in entry and "ALGORITHMS" in entry:
        yield "has ALGORITHMS beside KEYS.", "Leave ALGORITHMS out: each of the KEYS names its own."
    if "AUDIENCE" not in entry:
        yield "has no AUDIENCE.", MEMBERS["AUDIENCE"].hint
    elif entry["AUDIENCE"] is None and not entry.get("REQUIRED_CLAIMS"):
        yield (
            "takes tokens for everybody: AUDIENCE is None and there are no REQUIRED_CLAIMS.",
            "Write REQUIRED_CLAIMS that only access tokens for this service have, such as "
            '{"token_use": "access", "client_id": "…"}.',
        )


@cached_by_settings("JWTAUTH")
@sensitive_variables()
def trusted_issuers() -> Mapping[str, TrustedIssuer]:
    """Return the trusted issuers by ``iss``, their keys loaded. Raises ``ImproperlyConfigured``."""
    config = get_config()
    raise_first(find_problems(config))
    issuers = {
        iss: TrustedIssuer(iss=iss, **{name.lower(): value for name, value in entry.items()})
        for iss, entry in config.trusted_issuers.items()
    }
    for iss, issuer in issuers.items():
        try:
            issuer.ring  # noqa: B018
        except UnusableKeyError as error:
            raise ImproperlyConfigured(f"TRUSTED_ISSUERS[{iss!r}]: {error}") from error
    return issuers
