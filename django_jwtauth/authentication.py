"""Authentication classes for the REST framework (DRF), and the responses for this app's errors."""

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
    """401 with a challenge of its own."""

    # What DRF does: APIView.handle_exception() overwrites the challenge with that of the view's
    # first authentication class; if that class has none, it sets the status to 403.
    # Why this bends it: the challenge says what is wrong with this token (RFC 6750 section 3),
    # whichever class comes first. So both are properties, and what is assigned to them is dropped.

    def __init__(self, error: JWTAuthError, challenge: str) -> None:
        super().__init__(error.message, error.code)
        self._challenge = challenge

    @property
    def auth_header(self) -> str:
        """The challenge."""
        return self._challenge

    @auth_header.setter
    def auth_header(self, value: object) -> None:
        pass

    @property
    def status_code(self) -> int:
        """Always 401."""
        return status.HTTP_401_UNAUTHORIZED

    @status_code.setter
    def status_code(self, value: object) -> None:
        pass


class Unavailable(APIException):
    """503 with ``Retry-After``: whether the token is good could not be told."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    wait = 5

    def __init__(self, error: JWTAuthError) -> None:
        super().__init__(error.message, error.code)


def handler_with_code(handler: Handler) -> Handler:
    """Return an exception handler that adds ``code`` to the body ``{"detail": ...}`` of DRF's own.

    The body of any other handler stays as it is.
    """

    def handle(exc: Exception, context: dict[str, Any]) -> Any:
        response = handler(exc, context)
        if (
            isinstance(exc, Refused | Unavailable)
            and response is not None
            and response.data == {"detail": exc.detail}
        ):
            response.data["code"] = exc.get_codes()
        return response

    return handle


def to_api_exception(
    error: JWTAuthError, challenge: str = INVALID_TOKEN_CHALLENGE, request: Any = None
) -> APIException:
    """Return the REST framework's exception for an error of this app.

    With the ``request``, the body of its view's response has ``code`` beside ``detail``.
    """
    # What DRF does: its exception handler writes the text of an exception and drops the code.
    # Why this bends it: clients tell errors apart by the code. A dict as detail would carry it, but
    # the handlers of other packages take a dict for errors of fields. So the handler of this one
    # view is wrapped.
    view = getattr(request, "parser_context", {}).get("view")
    if view is not None:
        handler = handler_with_code(view.get_exception_handler())
        vars(view)["get_exception_handler"] = lambda: handler
    return Unavailable(error) if isinstance(error, UnavailableError) else Refused(error, challenge)


def _refusal(error: JWTAuthError, request: Any) -> APIException:
    return to_api_exception(error, INVALID_TOKEN_CHALLENGE, request)


class JWTAuthentication(BaseAuthentication):
    """Authenticates by an access token in ``Authorization: Bearer``, without a query.

    See RFC 6750 section 2.1. ``request.auth`` is the token's ``Claims``. ``request.user`` is loaded
    and checked when more than its ``pk`` is read.
    """

    def authenticate(self, request: Request) -> tuple[Any, Claims] | None:
        """Return user and claims, or None if the request carries no bearer token.

        Raises ``AuthenticationFailed`` for a token that is refused, a 503 if that cannot be told.
        """
        # An error report shows local variables: raise for the settings before there is a token.
        get_codec()
        token = self.get_token(request)
        if token is None:
            return None
        try:
            claims = sessions.verify(token)
            del token  # An error in a project's get_user or USER is reported, too.
            return self.get_user(claims, request), claims
        except JWTAuthError as error:
            raise _refusal(error, request) from error

    def get_token(self, request: Request) -> str | None:
        """Return the access token that the request carries, or None.

        Override it to read the token from elsewhere. A cookie, or anything else that browsers send
        by themselves, then needs protection against CSRF.
        """
        # What DRF does: its request looks up every attribute of Django's request twice.
        # Why this bends it: this runs at every request. Middleware may pass Django's own request.
        scheme, _, token = (
            getattr(request, "_request", request).META.get("HTTP_AUTHORIZATION", "").partition(" ")
        )
        # Nearly every client writes "Bearer"; comparing that first saves lower-casing it.
        is_bearer = scheme == "Bearer" or scheme.lower() == "bearer"
        return token.strip(" ") if is_bearer else None

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return the user for verified claims."""
        user = users.get_user(claims, _refusal, request)
        if isinstance(getattr(request, "accepted_renderer", None), BrowsableAPIRenderer):
            # What DRF does: the browsable API renders the user's name after the view has run.
            # Why this bends it: a refusal could no longer be answered there. Load the user now.
            user.is_active  # noqa: B018
        return user

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge for a request that carries no token (RFC 6750 section 3)."""
        return CHALLENGE


class JWTActiveUserAuthentication(JWTAuthentication):
    """Loads and checks the user with one query a request: deactivation takes effect at once."""

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return the user's row."""
        return users.load_user(claims)


class JWTStatelessAuthentication(JWTAuthentication):
    """Returns a ``TokenUser`` made of the claims alone, for services without a user table."""

    def get_user(self, claims: Claims, request: Request) -> Any:
        """Return a user that knows its claims only."""
        return users.TokenUser(claims)
