"""Token pairs: what a session hands out at its start and at every refresh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from ..conf import get_config
from ..jose.encoding import encode_id, new_id
from ..models import Session
from . import refresh as refresh_tokens
from .access import get_codec

WRITTEN_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "cnf"})
"""Claims that a CLAIMS hook may not return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a login or a refresh hands out; all but ``session`` is the body of the answer (RFC 6749
    section 5.1)."""

    access_token: str = field(repr=False)
    token_type: str = "Bearer"  # noqa: S105
    expires_in: int
    """Seconds for which the access token is good."""
    refresh_token: str = field(repr=False)
    refresh_expires_in: int
    """Seconds for which the refresh token is good unless it is used before."""
    session: Session


def issue_pair(
    session: Session, user: Any, request: HttpRequest | None, now: datetime
) -> TokenPair:
    """Return the token pair of a session's current generation.

    Sets ``access_expires_at`` of the session to the expiry of the access token. The caller saves
    it: a revocation denies access tokens until then. Raises ``ImproperlyConfigured`` where the
    ``CLAIMS`` hook returned what no token can hold.
    """
    config = get_config()
    issued = int(now.timestamp())
    expires = min(
        issued + int(config.access_token_lifetime.total_seconds()),
        int(session.expires_at.timestamp()),
    )
    session.access_expires_at = datetime.fromtimestamp(expires, UTC if settings.USE_TZ else None)
    claims = {
        "iss": config.issuer,
        "sub": str(get_user_model()._meta.pk.to_python(session.user_id)),
        "aud": config.audiences[0] if len(config.audiences) == 1 else config.audiences,
        "exp": expires,
        "iat": issued,
        "jti": encode_id(new_id()),
        "sid": session.sid,
        **_further_claims(user, session, request),
    }
    try:
        access_token = get_codec().encode(claims)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"JWTAUTH makes no access token: {error}") from error
    return TokenPair(
        access_token=access_token,
        expires_in=expires - issued,
        refresh_token=refresh_tokens.derive(session.pk, session.generation, bytes(session.nonce)),
        refresh_expires_in=int((session.expires_at - now).total_seconds()),
        session=session,
    )


def _further_claims(user: Any, session: Session, request: HttpRequest | None) -> Mapping[str, Any]:
    hook = get_config().claims_hook
    claims = {} if hook is None else hook(user, session, request)
    if not isinstance(claims, Mapping) or not all(isinstance(name, str) for name in claims):
        raise ImproperlyConfigured("JWTAUTH['CLAIMS'] returned no dict with text for keys.")
    written = sorted(WRITTEN_CLAIMS.intersection(claims))
    if written:
        raise ImproperlyConfigured(
            f"JWTAUTH['CLAIMS'] returned {written[0]!r}, which the app itself writes."
        )
    if not isinstance(claims.get("scope", ""), str):
        raise ImproperlyConfigured(
            "JWTAUTH['CLAIMS'] returned a scope that is no string; write 'read write'."
        )
    return claims
