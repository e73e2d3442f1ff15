"""The public JWK Set."""

import hashlib
import json
from typing import Any

from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from ..serializers import (
    JWKSetSerializer,
)
from ..tokens.access import get_codec
from .base import AuthView

JWKS_MAX_AGE = 300
"""Seconds for which others may keep our JWK Set."""


class JWKSView(AuthView):
    """The public keys that verify our access tokens, as a JWK Set (RFC 7517 section 5)."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    serializer_class = JWKSetSerializer

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase | None:
        """Return the set, or 304 where the client has it."""
        jwk_set = get_codec().own.ring.jwk_set
        response = Response(jwk_set)
        response["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE}"
        response["ETag"] = quote_etag(hashlib.sha256(json.dumps(jwk_set).encode()).hexdigest()[:32])
        return get_conditional_response(request._request, etag=response["ETag"], response=response)
