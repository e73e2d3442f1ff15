"""What all views share: responses for errors, headers, transactions."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError, connections
from django.views.decorators.debug import sensitive_post_parameters
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ..authentication import CHALLENGE, to_api_exception
from ..errors import CacheUnavailableError, JWTAuthError, UnavailableError
from ..throttling import guard
from .parsers import StrictJSONParser

logger = logging.getLogger("django_jwtauth")


class AuthView(GenericAPIView[Any]):
    """Base of all views: errors, no caching, no transaction, JSON."""

    parser_classes: Any = (StrictJSONParser,)
    renderer_classes = (JSONRenderer,)
    versioning_class = None
    filter_backends = ()
    challenge = CHALLENGE
    cache_control = "no-store"

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, run outside of ``ATOMIC_REQUESTS``."""
        view: Any = sensitive_post_parameters()(super().as_view(**initkwargs))
        # What Django does: non_atomic_requests() exempts a view from one database.
        # Why this bends it: what a refusal has written must stay, whichever database holds it.
        view._non_atomic_requests = set(connections)
        return view

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Choose JSON, whatever the client accepts."""
        # What DRF does: it answers 406 to a client that does not accept JSON.
        # Why this bends it: such a client still gets its tokens, and can read errors.
        return super().perform_content_negotiation(request, force=True)

    def handle_exception(self, exc: Exception) -> Response:
        """Return the response for an exception; for this app's, with code and challenge."""
        # PostgreSQL raises InternalError if a replica is asked to write.
        if isinstance(exc, OperationalError | InterfaceError | InternalError):
            logger.error("The database failed a request to %r.", self.request.path, exc_info=exc)
            exc = UnavailableError()
        if isinstance(exc, CacheUnavailableError):
            logger.error(
                "The cache failed a request to %r.", self.request.path, exc_info=exc.__cause__
            )
        if isinstance(exc, JWTAuthError):
            exc = to_api_exception(exc, self.challenge, self.request)
        with _transactions_kept():
            return super().handle_exception(exc)

    def get_throttles(self) -> list[Any]:
        """Return the throttles. If the cache fails one, a project's too, the response is 503."""
        return [guard(throttle) for throttle in super().get_throttles()]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid caches to store the response (RFC 6749 section 5.1)."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", self.cache_control)
        return response


@contextmanager
def _transactions_kept() -> Iterator[None]:
    """Keep surrounding transactions, which an error response would roll back."""
    # What DRF does: its exception handler marks every transaction of ATOMIC_REQUESTS for rollback.
    # Why this bends it: what a refusal has written must stay. Our views run outside of these
    # transactions, but the transaction of a TestCase, or of a caller, looks the same to DRF.
    open_transactions = [
        (c, c.needs_rollback) for c in connections.all(initialized_only=True) if c.in_atomic_block
    ]
    yield
    for connection, needs_rollback in open_transactions:
        connection.needs_rollback = needs_rollback
