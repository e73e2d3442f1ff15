"""Request bodies, read strictly."""

from io import BytesIO
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    ParseError,
)
from rest_framework.parsers import BaseParser, FormParser, JSONParser, MultiPartParser

from ..jose.strict_json import check_nesting

CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
LONGEST_BODY = 64 * 1024
"""Bytes."""
MAX_PART_HEADER_BYTES = 2 * 1024
"""Bytes of all parts of a multipart body together."""


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
        """Return the parsed JSON. Raises ``ParseError``, before parsing if nested too deep."""
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
        """Return the fields. Raises ``ParseError``, also if headers of parts are too long."""
        body = stream.read()
        boundary = parser_context["request"]._request.content_params.get("boundary", "")
        # Django parses a header in quadratic time and decodes parameters in any charset (RFC 2231).
        parts = body.split(b"--" + boundary.encode("utf-8", "replace"))
        if sum(len(part.partition(b"\r\n\r\n")[0]) for part in parts) > MAX_PART_HEADER_BYTES:
            raise ParseError
        return super().parse(BytesIO(body), media_type, parser_context)


class BodyTooLarge(APIException):
    """413: no credentials and no token are that long."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = _("The request body is too large.")
    default_code = "body_too_large"
