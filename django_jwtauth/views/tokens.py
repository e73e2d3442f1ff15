"""Log in, refresh, log out."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property
from typing import Any

from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import (
    AuthenticationFailed,
    PermissionDenied,
    UnsupportedMediaType,
)
from rest_framework.exceptions import ValidationError as BadRequest
from rest_framework.permissions import SAFE_METHODS, AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from .. import sessions
from ..authentication import JWTAuthentication
from ..db import user_rows
from ..errors import CredentialsError, InvalidTokenError, TokenError
from ..models import Reason, Session
from ..serializers import (
    TokenField,
    TokenObtainSerializer,
    TokenPairSerializer,
    TokenRefreshSerializer,
    TokenRevokeSerializer,
    read_account,
)
from ..throttling import (
    FailedRefreshThrottle,
    GoodLoginThrottle,
    LoginAccountThrottle,
    LoginThrottle,
    Outcome,
    OutcomeThrottle,
    RefreshThrottle,
    RevokeThrottle,
)
from ..tokens import refresh as refresh_tokens
from ..tokens.pair import TokenPair
from ..tokens.refresh import PresentedToken
from .base import AuthView
from .parsers import (
    CHARSETS,
    LONGEST_BODY,
    BodyTooLarge,
    StrictFormParser,
    StrictJSONParser,
    StrictMultiPartParser,
)

logger = logging.getLogger("django_jwtauth")


class TokenView(AuthView):
    """Base of the views that take credentials or tokens in the body. No authentication class runs.

    What a request presents is read once and kept on the view, for it and its throttles.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (StrictJSONParser, StrictFormParser, StrictMultiPartParser)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body that is too large, or in another charset, before it is read."""
        try:
            length = int(request._request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0  # as Django does
        if length > LONGEST_BODY:
            raise BodyTooLarge
        # Some codecs of Python take seconds for a body of this size.
        charset = (request._request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in CHARSETS:
            raise UnsupportedMediaType(request.content_type)
        super().initial(request, *args, **kwargs)

    def check_throttles(self, request: Request) -> None:
        """Count attempts. OPTIONS, and a method that is answered by 405, are none."""
        if request.method not in SAFE_METHODS and hasattr(self, str(request.method).lower()):
            super().check_throttles(request)

    def get_authenticate_header(self, request: Request) -> str:
        """Return the challenge: without one, DRF answers an ``AuthenticationFailed`` by 403."""
        return self.challenge

    @cached_property
    def body_serializer(self) -> Any:
        """The serializer bound to the body. It keeps its result, so the body is validated once."""
        return self.get_serializer(data=self.request.data)

    @sensitive_variables()
    def validated(self, request: Request) -> dict[str, Any]:
        """Return a copy of the body's fields, or answer 400. ``request`` is the view's own."""
        self.body_serializer.is_valid(raise_exception=True)
        data: dict[str, Any] = copy(self.body_serializer.validated_data)
        return data


class TokenPairView(TokenView):
    """Base of the views that hand out a token pair; subclasses say where it comes from."""

    _throttles: Sequence[Any] = ()
    _outcome = Outcome.UNDECIDED

    @cached_property
    def presented_account(self) -> str:
        """The account that the body names. The rest of the body is not validated yet."""
        return read_account(self.body_serializer)

    def get_token_pair(self, request: Request) -> TokenPair:
        """Return the pair to hand out, or raise ``CredentialsError`` or ``TokenError``."""
        raise NotImplementedError

    @sensitive_variables()
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Hand out a token pair."""
        try:
            pair = self.get_token_pair(request)
        except (CredentialsError, TokenError, AuthenticationFailed, PermissionDenied):
            self._outcome = Outcome.FAILURE
            raise
        self._outcome = Outcome.SUCCESS
        return self.build_response(pair)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Handle the request, then release the throttles, also after one of them refused it."""
        try:
            response = super().dispatch(request, *args, **kwargs)
            if self._outcome is Outcome.UNDECIDED and response.status_code in {401, 403}:
                # A project's own post() may answer rather than raise.
                self._outcome = Outcome.FAILURE
            return response
        finally:
            for throttle in self._throttles:
                if isinstance(throttle, OutcomeThrottle):
                    self._release(throttle)

    def _release(self, throttle: OutcomeThrottle) -> None:
        try:
            throttle.release(self._outcome)
        except Exception:
            # The cache failed. The refresh token is used by now, so the response must not be lost.
            logger.exception(
                "The outcome of a request to %r could not be counted.", self.request.path
            )

    def build_response(self, pair: TokenPair) -> Response:
        """Return the response for a pair. Another transport puts the refresh token elsewhere."""
        return Response(TokenPairSerializer(pair).data)

    def get_throttles(self) -> Any:
        """Return the throttles. They are kept, to be released when the outcome is known."""
        self._throttles = super().get_throttles()
        return self._throttles


class TokenObtainView(TokenPairView):
    """Log in: exchange credentials for a token pair."""

    serializer_class = TokenObtainSerializer
    throttle_classes = (LoginThrottle, LoginAccountThrottle, GoodLoginThrottle)

    @sensitive_variables()
    def validated(self, request: Request) -> dict[str, Any]:
        """Return a copy of the credentials, or answer 400: a failure if a password was tried."""
        try:
            return super().validated(request)
        except BadRequest:
            # If all fields are valid, validate() refused them, as DRF's AuthTokenSerializer does.
            with suppress(BadRequest):
                self.body_serializer.to_internal_value(request.data)
                self._outcome = Outcome.FAILURE
            raise

    @sensitive_variables()
    def get_token_pair(self, request: Request) -> TokenPair:
        """Check the credentials with Django's authentication backends and start a session."""
        credentials = self.validated(request)
        try:
            user = authenticate(request._request, **credentials)
        except OperationalError as error:
            if not user_rows.names_nobody(error):
                raise
            user = None
        if user is None:
            raise CredentialsError
        return sessions.start(user, request._request)


class TokenRefreshView(TokenPairView):
    """Exchange a refresh token for the next token pair."""

    serializer_class = TokenRefreshSerializer
    throttle_classes = (FailedRefreshThrottle, RefreshThrottle)

    @sensitive_variables()
    def get_refresh_token(self, request: Request) -> str:
        """Return the refresh token of the request. Another transport reads it from elsewhere."""
        token: str = self.validated(request)["refresh_token"]
        return token

    @cached_property
    def presented_token(self) -> PresentedToken | None:
        """The refresh token of this request; None if it is missing or malformed."""
        try:
            return refresh_tokens.read(self.get_refresh_token(self.request))
        except (KeyError, ValidationError) as error:
            # What a transport raises for a cookie or header that is missing.
            logger.info("%s found no refresh token: %s.", type(self).__name__, type(error).__name__)
        except InvalidTokenError:
            pass
        return None

    def get_token_pair(self, request: Request) -> TokenPair:
        """Rotate the refresh token."""
        if self.presented_token is None:
            raise InvalidTokenError
        return sessions.refresh(self.presented_token, request._request)


class TokenRevokeView(TokenView):
    """Log out: end the session of a refresh token or of a live access token (RFC 7009).

    The token is in the body, or else the access token in the ``Authorization`` header.
    """

    serializer_class = TokenRevokeSerializer
    throttle_classes = (RevokeThrottle,)

    @cached_property
    @sensitive_variables()
    def presented_session(self) -> Session | None:
        """The session whose token this request presents; None if the token is not ours."""
        token = self.validated(self.request).get("token")
        if token is None:
            token = self._bearer_token()
        return sessions.find(token)

    @sensitive_variables()
    def _bearer_token(self) -> str:
        bearer = JWTAuthentication()
        token = bearer.get_token(self.request)
        if token is None:
            raise BadRequest({"token": [TokenField().error_messages["required"]]}, "required")
        # If it is refused, answer 401: a 200 would tell the client that its session ended.
        bearer.authenticate(self.request)
        return token

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End the session. An invalid or foreign token in the body is not an error."""
        if self.presented_session is not None:
            sessions.revoke(self.presented_session, Reason.LOGOUT, request._request)
        return Response({})
