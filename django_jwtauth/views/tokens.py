"""Log in, refresh, log out."""

import logging
from collections.abc import Sequence
from contextlib import suppress
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
)
from ..throttling import (
    FailedRefreshThrottle,
    GoodLoginThrottle,
    LoginAccountThrottle,
    LoginThrottle,
    OutcomeThrottle,
    RefreshThrottle,
    RevokeThrottle,
)
from ..tokens.pair import TokenPair
from .base import AuthView
from .parsers import CHARSETS, LONGEST_BODY, BodyTooLarge, StrictFormParser, StrictJSONParser, StrictMultiPartParser

logger = logging.getLogger("django_jwtauth")


class TokenView(AuthView):
    """Base of the views that take credentials or tokens in the body. Nothing ambient authenticates here."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (StrictJSONParser, StrictFormParser, StrictMultiPartParser)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body that is too large, or in another charset, before anything reads it."""
        try:
            length = int(request._request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            length = 0  # as Django takes it
        if length > LONGEST_BODY:
            raise BodyTooLarge
        # Some of Python's codecs take seconds for a body of this size.
        charset = (request._request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in CHARSETS:
            raise UnsupportedMediaType(request.content_type)
        super().initial(request, *args, **kwargs)

    def check_throttles(self, request: Request) -> None:
        """Count attempts. A method that tries no token and no password is answered without one: 405, or OPTIONS."""
        if request.method not in SAFE_METHODS and hasattr(self, str(request.method).lower()):
            super().check_throttles(request)

    def get_authenticate_header(self, request: Request) -> str:
        """Return the challenge, without which an ``AuthenticationFailed`` of a project's own would be a 403."""
        return self.challenge

    @sensitive_variables()
    def validated(self, request: Request) -> dict[str, Any]:
        """Return the body's fields, or answer 400."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data: dict[str, Any] = serializer.validated_data
        return data


class TokenPairView(TokenView):
    """Base of the views that hand out a token pair; subclasses say where it comes from."""

    _throttles: Sequence[Any] = ()
    _outcome: bool | None = None

    def get_token_pair(self, request: Request) -> TokenPair:
        """Return the pair to hand out, or raise ``CredentialsError`` or ``TokenError``."""
        raise NotImplementedError

    @sensitive_variables()
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Hand out a token pair."""
        try:
            pair = self.get_token_pair(request)
        except (CredentialsError, TokenError, AuthenticationFailed, PermissionDenied):
            self._outcome = False
            raise
        self._outcome = True
        return self.build_response(pair)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Handle the request; then the throttles count what came of it, be it a refusal by one of them."""
        try:
            response = super().dispatch(request, *args, **kwargs)
            if self._outcome is None and response.status_code in {401, 403}:
                # By a post of the project's own, which raises nothing.
                self._outcome = False
            return response
        finally:
            for throttle in self._throttles:
                if isinstance(throttle, OutcomeThrottle):
                    self._settle(throttle)

    def _settle(self, throttle: OutcomeThrottle) -> None:
        try:
            throttle.settle(self._outcome)
        except Exception:
            # The cache failed. But the refresh token is used by now, so its answer must not be lost.
            logger.exception("What came of a request to %r could not be counted.", self.request.path)

    def build_response(self, pair: TokenPair) -> Response:
        """Return the answer for a pair. Another transport puts the refresh token elsewhere."""
        return Response(TokenPairSerializer(pair).data)

    def get_throttles(self) -> Any:
        """Return the throttles, and keep them: they count the outcome of the request at its end."""
        self._throttles = super().get_throttles()
        return self._throttles


class TokenObtainView(TokenPairView):
    """Log in: exchange credentials for a token pair."""

    serializer_class = TokenObtainSerializer
    throttle_classes = (LoginThrottle, LoginAccountThrottle, GoodLoginThrottle)

    @sensitive_variables()
    def validated(self, request: Request) -> dict[str, Any]:
        """Return the credentials, or answer 400, which is a failed login where a password may have been tried."""
        serializer = self.get_serializer(data=request.data)
        try:
            serializer.is_valid(raise_exception=True)
        except BadRequest:
            # By the serializer itself, as the REST framework's AuthTokenSerializer does once all fields are valid.
            with suppress(BadRequest):
                serializer.to_internal_value(request.data)
                self._outcome = False
            raise
        credentials: dict[str, Any] = serializer.validated_data
        return credentials

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
        """Return the refresh token that the request carries. Another transport takes it from elsewhere."""
        token: str = self.validated(request)["refresh_token"]
        return token

    @cached_property
    def presented_token(self) -> str:
        """The refresh token of this request. It is read once, whoever asks first: a throttle or the view."""
        try:
            return self.get_refresh_token(self.request)
        except (KeyError, ValidationError) as error:
            # What a cookie or a header that is missing comes to.
            logger.info("%s found no refresh token: %s.", type(self).__name__, type(error).__name__)
            raise InvalidTokenError from error

    def get_token_pair(self, request: Request) -> TokenPair:
        """Rotate the refresh token."""
        return sessions.refresh(self.presented_token, request._request)


class TokenRevokeView(TokenView):
    """Log out: end the session of a refresh token or of a live access token (RFC 7009).

    The token is in the body. Where there is none, it is the access token in the ``Authorization`` header.
    """

    serializer_class = TokenRevokeSerializer
    throttle_classes = (RevokeThrottle,)

    @cached_property
    @sensitive_variables()
    def presented_session(self) -> Session | None:
        """The session of the token of this request, or None where it is no token of ours. It is found once."""
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
        # Refused, it is a 401: the client would take a 200 for the end of its session.
        bearer.authenticate(self.request)
        return token

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End the session. A token in the body that is not ours, or no longer valid, is no error."""
        if self.presented_session is not None:
            sessions.revoke(self.presented_session, Reason.LOGOUT, request._request)
        return Response({})
