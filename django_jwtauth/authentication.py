"""The REST framework's authentication classes, and how this app's errors are told over HTTP."""

from collections.abc import Callable
from typing import Any

from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request

from . import sessions, users
from .claims import Claims
from .errors import JWTAuthError, UnavailableError
from .tokens.access import get_codec

REALM = "api"
CHALLENGE = f'Bearer realm="{REALM}"'
INVALID_TOKEN_CHALLENGE = f'{CHALLENGE}, error="invalid_token"'

Handler = Callable[[Exception, dict[str, Any]], Any]


class Refused(AuthenticationFailed):
    """401 with a challenge of its own.

    The REST framework would replace the challenge by that of the first authenticator, and the status by 403
    where that has none; hence neither can be changed once it is made.
    """

    def __init__(self, error: JWTAuthError, challenge: str) -> None:
        super().__init__(error.message, error.code)
        self.__dict__["auth_header"] = challenge

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in {"auth_header", "status_code"}:
            super().__setattr__(name, value)


class Unavailable(APIException):
    """503 with ``Retry-After``: nothing is said about the token."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    wait = 5

    def __init__(self, error: JWTAuthError) -> None:
        super().__init__(error.message, error.code)


def handler_with_code(handler: Handler) -> Handler:
    """Return an exception handler that adds our ``code`` to ``{"detail": ...}``, the body of DRF's own handler.

    The body of any other handler stays as it is.
    """

    def handle(exc: Exception, context: dict[str, Any]) -> Any:
        response = handler(exc, context)
        if isinstance(exc, Refused | Unavailable) and response is not None and response.data == {"detail": exc.detail}:
            response.data["code"] = exc.get_codes()
        return response

    return handle


def to_api_exception(
    error: JWTAuthError, challenge: str = INVALID_TOKEN_CHALLENGE, request: Any = None
) -> APIException:
    """Return the REST framework's exception for an error of this app.

    With the ``request``, the view that answers it writes the error's ``code`` beside the ``detail``.
    """
    view = getattr(request, "parser_context", {}).get("view")
    if view is not None:
        handler = handler_with_code(view.get_exception_handler())
        vars(view)["get_exception_handler"] = lambda: handler
    return Unavailable(error) if isinstance(error, UnavailableError) else Refused(error, challenge)


def _refusal(error: JWTAuthError, request: Any) -> APIException:
    return to_api_exception(error, INVALID_TOKEN_CHALLENGE, request)


class JWTAuthentication(BaseAuthentication):
    """Authenticates by an access token in ``Authorization: Bearer`` (RFC 6750 section 2.1), without a query.

    ``request.auth`` is the token's ``Claims``; ``request.user`` is loaded, and checked, when more than its
    ``pk`` is asked for.
    """

    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        """Return user and claims, or None where the request carries no bearer token.

        Raises ``AuthenticationFailed`` for a token that is refused; 503 where that cannot be told.
        """
        get_codec()  # A mistake in the settings shows before there is a token that an error report would show too.
        token = self.get_token(request)
        if token is None:
            return None
        try:
            claims = sessions.verify(token)
            del token  # So would a report of what a project's own get_user or USER does wrong.
            return self.get_user(claims, request), claims
        except JWTAuthError as error:
            raise _refusal(error, request) from error

    def get_token(self, request: Request) -> str | None:
        """Return the access token that the request carries, or None where it carries none.

        Override it to read the token from elsewhere. What a browser sends by itself, such as a cookie, then needs
        protection against CSRF.
        """
        # Straight to Django's request, which middleware passes by itself; DRF's looks every attribute up twice.
        scheme, _, token = getattr(request, "_request", request).META.get("HTTP_AUTHORIZATION", "").partition(" ")
        # Nearly every client writes "Bearer"; comparing that first saves lower-casing it.
        is_bearer = scheme == "Bearer" or scheme.lower() == "bearer"
        return token.strip(" ") if is_bearer else None

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return the user for verified claims."""
        user = users.get_user(claims, _refusal, request)
        if isinstance(getattr(request, "accepted_renderer", None), BrowsableAPIRenderer):
            # It shows the user's name after the view has run, when a refusal could no longer be answered.
            user.is_active  # noqa: B018
        return user

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge for a request that carries no token (RFC 6750 section 3)."""
        return CHALLENGE


class JWTActiveUserAuthentication(JWTAuthentication):
    """Loads and checks the user at every request, at one query: deactivation takes effect at once."""

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return the user's row."""
        return users.load_user(claims)


class JWTStatelessAuthentication(JWTAuthentication):
    """Gives a ``TokenUser`` made of the claims alone, for services without a user table."""

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return a user of whom nothing but the claims is known."""
        return users.TokenUser(claims)
