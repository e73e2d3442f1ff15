"""What can go wrong, as words: every kind has a stable ``code`` and a sentence that tells nothing
secret."""

from django.utils.translation import gettext_lazy as _


class JWTAuthError(Exception):
    """Base of all errors of this app. ``code`` and ``message`` are what a client is told."""

    code = "error"
    message = _("Authentication failed.")

    def __str__(self) -> str:
        return str(self.message)


class CredentialsError(JWTAuthError):
    """The credentials of a login are wrong, or their user may not log in."""

    code = "invalid_credentials"
    message = _("No active account was found with these credentials.")


class TokenError(JWTAuthError):
    """A token was refused; raised only by its kinds below.

    ``stage`` names the step that refused it, for debugging. It is never sent to a client.
    """

    def __init__(self, stage: str = "") -> None:
        super().__init__(stage)
        self.stage = stage


class InvalidTokenError(TokenError):
    """Malformed, forged, not ours, not for us, or naming a user who is gone or inactive."""

    code = "token_invalid"
    message = _("The token is invalid.")


class ExpiredTokenError(TokenError):
    """The token was valid once. Refresh it; log in again if this was a refresh token."""

    code = "token_expired"
    message = _("The token has expired.")


class RevokedTokenError(TokenError):
    """The token, or the session it belongs to, was taken back. Log in again."""

    code = "token_revoked"
    message = _("The token was revoked. Log in again.")


class ReusedTokenError(TokenError):
    """A refresh token was presented after its successor was in use (RFC 9700 section 4.14.2)."""

    code = "token_reused"
    message = _("The refresh token was used before, so its session was ended. Log in again.")


class UnavailableError(JWTAuthError):
    """The server cannot decide now. It says nothing about the token; try again later."""

    code = "database_unavailable"
    message = _("The service is temporarily unavailable. Try again in a moment.")


class CacheUnavailableError(UnavailableError):
    """The cache does not answer, so the throttles cannot count this request."""

    code = "cache_unavailable"


class DenylistUnavailableError(UnavailableError):
    """The denylist could not be loaded for longer than ``DENYLIST_MAX_STALENESS``."""

    code = "denylist_unavailable"


class IssuerUnavailableError(UnavailableError):
    """The keys of a trusted issuer cannot be fetched, and without them nothing can be said about
    its token."""

    code = "issuer_unavailable"
