"""Keys that their issuer publishes as a JWK Set: fetched when they are asked for, and kept for a while.

Requests share what was fetched. They wait for a fetch only where there is nothing good to go on with.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.core.signals import setting_changed

from .conf import is_text
from .download import DownloadError, download
from .errors import IssuerUnavailableError
from .key_material import ALGORITHMS, MINIMUM_SECRET_BYTES, UnusableKeyError
from .keys import THUMBPRINT_MEMBERS, Key
from .process.clock import Moment
from .process.reloading import Plan, Reloader, TooOldError
from .strict_json import read_object

REFETCH_AGE = 300.0
"""Seconds for which a fetched set is good; a key that its issuer removed is refused by then."""
COOL_DOWN = 30.0
"""Seconds between a fetch and one that an unknown key id asks for, and after a fetch that failed."""
RETRY = 5.0
"""The same while there is nothing to go on with."""
LONGEST_AGE = 86_400.0
"""Seconds for which the last good set is used while its issuer does not answer."""
MAX_WAIT_SECONDS = 3.0
"""A request waits this long for a fetch."""

ASYMMETRIC = tuple(name for name in ALGORITHMS if name not in MINIMUM_SECRET_BYTES)
LARGEST_RSA_BITS = 8192
"""A larger key would make every verification a burden."""
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Of a JWK (RFC 7518 section 6)."""
SUITING = {
    ("RSA", None): tuple(name for name in ASYMMETRIC if name[:2] in {"RS", "PS"}),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms that a JWK may be for, by its ``kty`` and ``crv`` (RFC 7518 section 6, RFC 8037 section 2)."""
logger = logging.getLogger("django_jwtauth")


class KeySet(NamedTuple):
    """What was fetched."""

    by_kid: Mapping[str, Key]
    document: bytes | None


NOTHING_FETCHED = KeySet({}, None)


class FetchedRing:
    """The keys of one issuer. They are fetched by the first request that asks for one, never at start."""

    def __init__(self, iss: str, url: str, algorithms: tuple[str, ...]) -> None:
        self.iss = iss
        self.url = url
        self.algorithms = algorithms
        self._reloader = Reloader(
            f"The JWK Set of the issuer {iss!r}",
            NOTHING_FETCHED,
            lambda: Plan(self._fetch),
            on_failure=self._log_failure,
            max_wait=MAX_WAIT_SECONDS,
            cooldown=COOL_DOWN,
            first_cooldown=RETRY,
        )

    @property
    def by_kid(self) -> Mapping[str, Key]:
        """The keys by their ids. Raises ``IssuerUnavailableError`` where they cannot be had."""
        return self._current(Moment.now())

    def find(self, kid: str) -> Key | None:
        """Return the key of this id, or None where the issuer has none.

        An id that is not known has the set fetched again, at most once in ``COOL_DOWN``. Raises
        ``IssuerUnavailableError`` where it cannot be told whether there is one.
        """
        arrived = Moment.now()
        key = self._current(arrived).get(kid)
        if key is None:
            is_known = self._reloader.renew(arrived, REFETCH_AGE, COOL_DOWN)
            key = self._reloader.held.value.by_kid.get(kid)
            if key is None and not is_known:
                raise IssuerUnavailableError
        return key

    def _current(self, arrived: Moment) -> Mapping[str, Key]:
        """Return the keys that a request may use that arrived then."""
        try:
            return self._reloader.get(arrived, REFETCH_AGE, LONGEST_AGE).by_kid
        except TooOldError:
            raise IssuerUnavailableError from None

    def _fetch(self, held: KeySet) -> KeySet:
        document = download(self.url)
        if document == held.document:
            # The same keys, so that what was verified with them stays remembered.
            return held
        return KeySet(read_jwk_set(document, self.algorithms, self.iss), document)

    def _log_failure(self, error: Exception) -> None:
        # Nothing of what was sent is logged.
        reason = error if isinstance(error, DownloadError) else type(error).__name__
        logger.warning("The keys of the issuer %r could not be fetched: %s.", self.iss, reason)


_rings: dict[tuple[str, str, tuple[str, ...]], FetchedRing] = {}


def fetched_ring(iss: str, url: str, algorithms: tuple[str, ...]) -> FetchedRing:
    """Return the one ring of this process for an issuer whose JWK Set is at this URL."""
    source = iss, url, algorithms
    # setdefault, because two threads may come here at once.
    return _rings.get(source) or _rings.setdefault(source, FetchedRing(*source))


def read_jwk_set(document: bytes, algorithms: tuple[str, ...], iss: str) -> dict[str, Key]:
    """Return the usable keys of a JWK Set by their ids; the others are left out (RFC 7517 section 5).

    Raises ``DownloadError`` where the document is no JWK Set.
    """
    try:
        entries = read_object(document).get("keys")
    except (ValueError, RecursionError) as error:
        raise DownloadError("it is no JSON object") from error
    if not isinstance(entries, list):
        raise DownloadError("it is no JWK Set")
    keys: list[Key] = []
    for position, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("use", "sig") != "sig":
            continue
        try:
            keys.append(_read_jwk(entry, algorithms))
        except Exception as error:  # an odd key must not cost the others
            # Other exceptions may repeat what was sent.
            reason = error if isinstance(error, UnusableKeyError) else "It cannot be read."
            logger.warning("Key %d in the JWK Set of the issuer %r is not used: %s", position, iss, reason)
    counts = Counter(key.kid for key in keys)
    if len(counts) < len(keys):
        logger.warning("Keys in the JWK Set of the issuer %r are not used: they share an id.", iss)
    return {key.kid: key for key in keys if counts[key.kid] == 1}


def _read_jwk(jwk: Any, algorithms: tuple[str, ...]) -> Key:
    if not isinstance(jwk, dict) or not is_text(jwk.get("kid", "none")):
        raise UnusableKeyError("It is no JWK, or its kid is not printable text.")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise UnusableKeyError("It is secret, and everybody can read it.")
    if "key_ops" in jwk and not (isinstance(jwk["key_ops"], list) and "verify" in jwk["key_ops"]):
        raise UnusableKeyError("Its key_ops do not name verify.")
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str | None):
        raise UnusableKeyError("Its kty or crv is not text.")
    suiting = SUITING.get((kty, crv), ())
    fitting = [name for name in suiting if name in algorithms and name == jwk.get("alg", name)]
    if len(fitting) != 1:
        raise UnusableKeyError(
            "It is for none of ALGORITHMS."
            if not fitting
            else 'It does not say which of ALGORITHMS it is for. Write the one, such as "ALGORITHMS": ["RS256"].'
        )
    public = {name: jwk[name] for name in THUMBPRINT_MEMBERS[kty] if name in jwk}
    key = Key.from_dict({"ALGORITHM": fitting[0], "PUBLIC_KEY": public, "KID": jwk.get("kid")})
    if getattr(key.verifying_key, "key_size", 0) > LARGEST_RSA_BITS:
        raise UnusableKeyError(f"It has more than {LARGEST_RSA_BITS} bits.")
    return key


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "JWTAUTH":
        _rings.clear()


setting_changed.connect(_forget, dispatch_uid="django_jwtauth.fetched_ring")
