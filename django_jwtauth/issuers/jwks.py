"""Keys that an issuer publishes as a JWK Set: fetched on demand, shared by requests, kept for a
while.

A request waits for a fetch only where no good set is held.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import IssuerUnavailableError
from ..jose.jwk_set import read_jwk_set
from ..jose.keys import Key
from ..process.clock import Moment
from ..process.reloading import Plan, Reloader, TooOldError
from .download import DownloadError, download

REFETCH_AGE = 300.0
"""Seconds for which a fetched set is good; a key that its issuer removed is refused by then."""
COOL_DOWN = 30.0
"""Seconds from a fetch to one that an unknown key id asks for, and after a fetch that failed."""
RETRY = 5.0
"""The same while there is nothing to go on with."""
LONGEST_AGE = 86_400.0
"""Seconds for which the last good set is used while its issuer does not answer."""
MAX_WAIT_SECONDS = 3.0
"""A request waits this long for a fetch."""
logger = logging.getLogger("django_jwtauth")


class KeySet(NamedTuple):
    """What was fetched."""

    by_kid: Mapping[str, Key]
    document: bytes | None


NOTHING_FETCHED = KeySet({}, None)


class FetchedRing:
    """The keys of one issuer, fetched by the first request that asks for one, never at start."""

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
        try:
            return KeySet(read_jwk_set(document, self.algorithms, self.iss), document)
        except ValueError as error:
            raise DownloadError(str(error)) from error

    def _log_failure(self, error: Exception) -> None:
        # Nothing of what was sent is logged.
        reason = error if isinstance(error, DownloadError) else type(error).__name__
        logger.warning("The keys of the issuer %r could not be fetched: %s.", self.iss, reason)
