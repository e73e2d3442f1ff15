"""Token and session endpoints, to be customized by subclassing as is usual with the REST framework."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from typing import Any

from django.contrib.auth import authenticate
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import InterfaceError, InternalError, OperationalError, connections
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    NotFound,
    ParseError,
    PermissionDenied,
    UnsupportedMediaType,
)
from rest_framework.exceptions import ValidationError as BadRequest
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import BaseParser, FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import SAFE_METHODS, AllowAny, IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from . import sessions, users
from .authentication import CHALLENGE, INVALID_TOKEN_CHALLENGE, JWTAuthentication, to_api_exception
from .conf import get_config
from .db import user_rows
from .errors import (
    CacheUnavailableError,
    CredentialsError,
    InvalidTokenError,
    JWTAuthError,
    TokenError,
    UnavailableError,
)
from .jose.encoding import decode_id
from .jose.strict_json import check_nesting
from .models import Reason, Session, SessionQuerySet, write_alias
from .permissions import MayManageSessions
from .serializers import (
    EndSessionsSerializer,
    JWKSetSerializer,
    SessionSerializer,
    TokenField,
    TokenObtainSerializer,
    TokenPairSerializer,
    TokenRefreshSerializer,
    TokenRevokeSerializer,
)
from .throttling import (
    FailedRefreshThrottle,
    GoodLoginThrottle,
    LoginAccountThrottle,
    LoginThrottle,
    OutcomeThrottle,
    RefreshThrottle,
    RevokeThrottle,
    guard,
)
from .tokens.access import get_codec
from .tokens.pair import TokenPair

CURRENT = "current"
"""Stands for the session of the access token in the path of a session. No ``sid`` is that short."""
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
LONGEST_BODY = 64 * 1024
"""Bytes."""
LONGEST_PART_HEADERS = 2 * 1024
"""Bytes of all parts of a multipart body together."""
MAX_LISTED_SESSIONS = 1000
JWKS_MAX_AGE = 300
"""Seconds for which others may keep our JWK Set."""

logger = logging.getLogger("django_jwtauth")


class _Strict(BaseParser):
    """Reads UTF-8. A body that cannot be read is a bad request."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        context = {**(parser_context or {}), "encoding": "utf-8"}
        try:
            return super().parse(stream, media_type, context)
        except (RecursionError, UnicodeError, SuspiciousOperation) as error:
            raise ParseError from error


class StrictJSONParser(_Strict, JSONParser):
    """Reads JSON."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return what the JSON says. Raises ``ParseError`` where it is nested too deep, before it is parsed."""
        body = stream.read()
        try:
            check_nesting(body)
        except ValueError as error:
            raise ParseError from error
        return super().parse(BytesIO(body), media_type, parser_context)


class StrictFormParser(_Strict, FormParser):
    """Reads ``application/x-www-form-urlencoded``."""


class StrictMultiPartParser(_Strict, MultiPartParser):
    """Reads ``multipart/form-data``."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return the fields. Raises ``ParseError`` where the headers of the parts are too long."""
        body = stream.read()
        boundary = parser_context["request"]._request.content_params.get("boundary", "")
        # Django parses a header in quadratic time, and decodes parameters in any charset (RFC 2231).
        parts = body.split(b"--" + boundary.encode("utf-8", "replace"))
        if sum(len(part.partition(b"\r\n\r\n")[0]) for part in parts) > LONGEST_PART_HEADERS:
            raise ParseError
        return super().parse(BytesIO(body), media_type, parser_context)


class BodyTooLarge(APIException):
    """413: no credentials and no token are that long."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The request body is too large.")
    default_code = "body_too_large"


class AuthView(GenericAPIView[Any]):
    """Base of all views of this app: tells errors, forbids caching, keeps out of transactions, speaks JSON."""

    parser_classes: Any = (StrictJSONParser,)
    renderer_classes = (JSONRenderer,)
    versioning_class = None
    filter_backends = ()
    challenge = CHALLENGE
    cache_control = "no-store"

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, run outside of ``ATOMIC_REQUESTS``: what a refusal has written must stay written."""
        view: Any = sensitive_post_parameters()(super().as_view(**initkwargs))
        view._non_atomic_requests = set(connections)
        return view

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Answer in JSON whatever is asked for; there is nothing else."""
        return super().perform_content_negotiation(request, force=True)

    def handle_exception(self, exc: Exception) -> Response:
        """Answer an error of this app, or of the database or the cache, with status, code and challenge."""
        # The last one is PostgreSQL's where a replica was asked to write.
        if isinstance(exc, OperationalError | InterfaceError | InternalError):
            logger.error("The database failed a request to %r.", self.request.path, exc_info=exc)
            exc = UnavailableError()
        if isinstance(exc, CacheUnavailableError):
            logger.error("The cache failed a request to %r.", self.request.path, exc_info=exc.__cause__)
        if isinstance(exc, JWTAuthError):
            exc = to_api_exception(exc, self.challenge, self.request)
        with _transactions_kept():
            return super().handle_exception(exc)

    def get_throttles(self) -> list[Any]:
        """Return the throttles, those of the project too. A cache that fails them is a 503."""
        return [guard(throttle) for throttle in super().get_throttles()]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid caches to store the answer (RFC 6749 section 5.1)."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", self.cache_control)
        return response


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


class SessionsView(AuthView):
    """Base of the views for one's own sessions."""

    authentication_classes = (JWTAuthentication,)
    permission_classes = (IsAuthenticated, MayManageSessions)
    serializer_class = SessionSerializer
    challenge = INVALID_TOKEN_CHALLENGE
    # Django's cache middleware, before 5.2.15, shows to all what it may keep; only "private" forbids it that.
    cache_control = "no-store, private"

    def get_queryset(self) -> SessionQuerySet:
        """Return the live sessions of the user, newest first."""
        user_id = users.user_key(self.request.user)
        sessions_of_user = Session.objects.using(write_alias()).filter(user_id=user_id)
        return sessions_of_user.live().order_by("-created_at", "pk")


class SessionListView(SessionsView):
    """One's own sessions: list them, end them."""

    pagination_class = None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the newest live sessions, newest first."""
        newest = self.get_queryset()[:MAX_LISTED_SESSIONS]
        return Response(self.get_serializer(newest, many=True).data)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End all sessions, or with ``?others=true`` all but the current one."""
        query = EndSessionsSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        sid = getattr(request.auth, "sid", None)
        current = Session(pk=decode_id(sid)) if sid and query.validated_data["others"] else None
        sessions.revoke_all(request.user, Reason.LOGOUT, current, request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SessionDetailView(SessionsView):
    """One of one's own sessions, by its ``sid``; ``current`` is that of the access token."""

    def delete(self, request: Request, sid: str, *args: Any, **kwargs: Any) -> Response:
        """End it. Another user's session is not found."""
        if sid == CURRENT:
            sid = str(getattr(request.auth, "sid", None))
        try:
            session = self.get_queryset().filter(pk=decode_id(sid)).first()
        except ValueError:
            session = None
        if session is None:
            raise NotFound
        sessions.revoke(session, Reason.LOGOUT, request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class JWKSView(AuthView):
    """The public keys that verify our access tokens, as a JWK Set (RFC 7517 section 5)."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    serializer_class = JWKSetSerializer

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase | None:
        """Return the set, or 304 where the client has it."""
        jwk_set = get_codec().rings[get_config().issuer].jwk_set
        response = Response(jwk_set)
        response["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
        response["ETag"] = quote_etag(hashlib.sha256(json.dumps(jwk_set).encode()).hexdigest()[:32])
        return get_conditional_response(request._request, etag=response["ETag"], response=response)


@contextmanager
def _transactions_kept() -> Iterator[None]:
    """Undo the REST framework's order to roll back, which an error response gives to a surrounding transaction."""
    open_transactions = [(c, c.needs_rollback) for c in connections.all(initialized_only=True) if c.in_atomic_block]
    yield
    for connection, needs_rollback in open_transactions:
        connection.needs_rollback = needs_rollback
