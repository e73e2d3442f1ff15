"""Permissions by the scopes of an access token."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from .authentication import CHALLENGE
from .claims import Claims
from .conf import get_config

SESSIONS_SCOPE = "sessions"


class TokenHasScope(BasePermission):
    """Grants access if the token's ``scope`` has every scope in the view's ``required_scopes``.

    Composes with other permissions. A 403 has a challenge that names the scopes (RFC 6750
    section 3.1).
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the token has every required scope."""
        required = self.get_required_scopes(view)
        granted = isinstance(request.auth, Claims) and request.auth.scopes.issuperset(required)
        if not granted:
            _challenge_on_denial(
                view, f'{CHALLENGE}, error="insufficient_scope", scope="{" ".join(required)}"'
            )
        return granted

    def get_required_scopes(self, view: Any) -> list[str]:
        """Return the scopes that the view asks for."""
        scopes = getattr(view, "required_scopes", None)
        if not isinstance(scopes, list | tuple) or not scopes:
            raise ImproperlyConfigured(
                f"{type(view).__name__} uses TokenHasScope: write "
                'required_scopes = ["read"], a list of its scopes.'
            )
        return list(scopes)


class MayManageSessions(TokenHasScope):
    """Denies tokens of other issuers, and tokens whose ``scope`` lacks ``sessions``."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the token may manage sessions. Scopes of another issuer are not about ours."""
        if not isinstance(request.auth, Claims):
            return True
        if request.auth.iss != get_config().issuer:
            return False
        return request.auth.scope is None or super().has_permission(request, view)

    def get_required_scopes(self, view: Any) -> list[str]:
        """Return the one scope that managing sessions requires."""
        return [SESSIONS_SCOPE]


def _challenge_on_denial(view: Any, challenge: str) -> None:
    """Add a challenge to the view's 403, if it comes to one: another permission may still grant."""
    # What DRF does: permission_denied() of the view raises the 403, after any "or" of permissions.
    # Why this bends it: a permission may not raise, or it would deny what another one grants.
    # If that one grants and a third one denies, the 403 has the challenge, too.
    deny = view.permission_denied

    def permission_denied(*args: Any, **kwargs: Any) -> None:
        try:
            deny(*args, **kwargs)
        except PermissionDenied as error:
            error.auth_header = challenge  # type: ignore[attr-defined]
            raise

    view.permission_denied = permission_denied
