"""Look at a token: what it says, and whether it would be accepted now."""

import base64
import json
import sys
import time
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFailure
from django.utils import timezone

from django_jwtauth.errors import JWTAuthError, TokenError, UnavailableError
from django_jwtauth.management.tokens import read_token

from ... import sessions, users
from ...conf import get_config
from ...jose.encoding import decode_id
from ...jose.strict_json import check_nesting
from ...models import Session
from ...tokens import refresh as refresh_tokens
from ...tokens.access import get_codec

STAGES = {
    "form": "it is not three parts of base64url with a JSON object in the first and in the second, "
    "or it is too long or nested too deep",
    "header": "the header asks for an extension by crit or b64",
    "issuer": "iss is neither the ISSUER of these settings nor one of TRUSTED_ISSUERS",
    "typ": "the header's typ is not at+jwt, nor what TYP of a trusted issuer says, so it is no "
    "access token",
    "key": "no key of the issuer has this kid and this alg; was it removed? Without kid, only one "
    "may have the alg",
    "signature": "the key did not sign these bytes",
    "claims": "a claim is missing, of a wrong type, not for a bearer token, or not as "
    "REQUIRED_CLAIMS say",
    "audience": "none of aud is in the AUDIENCE for this issuer",
    "clock": "by the clock of this machine it has expired or is not valid yet",
    "denylist": "it was revoked, or its session was",
}
"""What a decoder's refusal means, in its order."""


class Command(BaseCommand):
    """``manage.py jwtauth_inspect``: ends with 0 for a token that would be accepted now and with 1
    for another one.

    The predecessor of a current refresh token counts as another one, although it is forgiven for
    ``REUSE_LEEWAY``.
    """

    help = (
        "Shows what a token says, and whether it would be accepted now or what refuses it. "
        "Nothing is changed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the argument."""
        parser.add_argument(
            "token",
            nargs="?",
            default="-",
            help=(
                "By default, or for -, it is read from standard input, which stays out of the "
                "shell's history."
            ),
        )

    def handle(self, *, token: str, **options: Any) -> None:
        """Print all that is known. Neither the token nor any text of it leaves here unescaped."""
        token = read_token(token)
        try:
            is_refresh_token = token.startswith(refresh_tokens.PREFIX)
            is_good = self._refresh_token(token) if is_refresh_token else self._access_token(token)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if not is_good:
            sys.exit(1)

    def _access_token(self, token: str) -> bool:
        refusal = _refusal(token)
        self.stdout.write("Access token: " + (refusal or "would be accepted now."))
        try:
            claims = get_codec().decode(token)
        except JWTAuthError:
            claims = None
        note = "" if claims else " (UNVERIFIED: anybody can have written this)"
        if token.count(".") == 2:
            for name, segment in zip(("Header", "Claims"), token.split("."), strict=False):
                self.stdout.write(f"{name}{note}:\n{_readable(segment)}")
        if claims:
            left = claims.exp - time.time()
            self.stdout.write(f"exp: in {left:.0f} s" if left > 0 else f"exp: {-left:.0f} s ago")
            if claims.sid and claims.iss == get_config().issuer:
                self.stdout.write(f"Session: {_session_of(claims.sid)}")
        return refusal is None

    def _refresh_token(self, token: str) -> bool:
        try:
            presented = refresh_tokens.read(token)
        except TokenError:
            self.stdout.write("Refresh token: not whole, or never one of ours.")
            return False
        try:
            session = _find(presented.session_id)
        except DatabaseFailure as error:
            raise CommandError(
                "The database does not answer, and without it nothing is known."
            ) from error
        if session is None or not refresh_tokens.is_genuine(presented, bytes(session.nonce)):
            self.stdout.write(
                "Refresh token: of no session here, or made under another SECRET_KEY or ISSUER."
            )
            return False
        age = session.generation - presented.generation
        kind = {0: "the current one", 1: "the one before the current one"}.get(
            age, "an old one, whose use ends it"
        )
        self.stdout.write(
            f"Refresh token of the session {session.sid}: "
            f"{kind if age >= 0 else 'one of its future'}."
        )
        self.stdout.write(f"Session: {_state(session)}")
        return age == 0 and session.is_live(timezone.now()) and _user_of(session) == "active"


def _refusal(token: str) -> str | None:
    try:
        sessions.verify(token)
    except TokenError as error:
        return f"REFUSED at the stage {error.stage!r}: {STAGES[error.stage]}."
    except UnavailableError as error:
        return f"REFUSED for now: {error.code}."
    return None


def _readable(segment: str) -> str:
    """Return JSON with all but plain characters escaped, so that a terminal obeys none of them."""
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        check_nesting(data)
        content = json.loads(data)
        return json.dumps(content, indent=2).replace("\x7f", "\\u007f")
    except (ValueError, RecursionError):
        return "cannot be read"


def _session_of(sid: str) -> str:
    try:
        session = _find(decode_id(sid))
    except (DatabaseFailure, ImproperlyConfigured):
        return "not known, because no database answers"
    return "gone, and perhaps its user" if session is None else _state(session)


def _find(pk: Any) -> Session | None:
    return Session.objects.primary().select_related("user").filter(pk=pk).first()


def _state(session: Session) -> str:
    if session.revoked_at:
        state = f"ended at {session.revoked_at.isoformat()} ({session.revoke_reason})"
    else:
        state = "live until" if session.is_live(timezone.now()) else "expired at"
        state = f"{state} {session.expires_at.isoformat()}"
    return f"{state}; its user {str(session.user_id)!a} is {_user_of(session)}"


def _user_of(session: Session) -> str:
    """Return what a refresh would make of the session's user; only for one who is active it goes
    on."""
    if not get_user_model()._default_manager.filter(pk=session.user_id).exists():
        return "hidden by its model's manager"
    if not users.is_usable(session.user):
        return "inactive"
    same_password = session.auth_hash in users.auth_hashes(session.user)
    return "active" if same_password else "active, with another password since"
