"""What an issuer of access tokens is to the verifier: this site and every trusted one alike."""

from typing import Any, Protocol

from ..claims import Claims
from ..jose.keys import KeyRing
from .jwks import FetchedRing

ACCEPTED_TYPES: frozenset[str | None] = frozenset({"at+jwt", "application/at+jwt"})
"""The header ``typ`` of access tokens, where nothing else is agreed on (RFC 9068 section 4)."""


class Issuer(Protocol):
    """Who signs a token, by which keys, and what the token must be like to be accepted."""

    @property
    def iss(self) -> str:
        """The claim ``iss`` of its tokens, compared exactly."""

    @property
    def ring(self) -> KeyRing | FetchedRing:
        """The keys that verify its tokens."""

    @property
    def accepted_types(self) -> frozenset[str | None]:
        """The header ``typ``, in lower case; None where the header has none."""

    @property
    def accepted_audiences(self) -> frozenset[str] | None:
        """One of these must be in ``aud``. None: ``aud`` is not looked at."""

    @property
    def needs_kid(self) -> bool:
        """Whether a header without ``kid`` is refused, even where only one key has its ``alg``."""

    def read_claims(self, values: dict[str, Any]) -> Claims:
        """Return the claims of a token with a good signature. Raises ``InvalidTokenError``."""
