"""The OpenAPI description of this app, for drf-spectacular; loaded when that app is installed."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiViewExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from . import errors, views
from .serializers import EndSessionsSerializer, TokenPairSerializer
from .views import keys as key_views
from .views import parsers
from .views import sessions as session_views

REMEMBERED = "_jwtauth_schemas"
"""Where a registry of components keeps those that our operations refer to, as they were made."""
Description = dict[str, dict[str, Any]]
"""What ``extend_schema`` is told about each method of a view."""


def _refusal(name: str, *kinds: type[errors.JWTAuthError], is_coded: bool = True) -> Any:
    """Return the body of a refusal, whose ``code`` is that of one of these kinds.

    The codes are a component of their own. As choices they would be named together with every other
    field called
    ``code``, and a project's own choices of that name would get another one.
    """
    code = type("CodeField", (serializers.CharField,), {})
    extend_schema_field({"type": "string", "enum": [kind.code for kind in kinds]}, f"{name}Code")(
        code
    )
    return inline_serializer(
        name, {"detail": serializers.CharField(), "code": code(required=is_coded)}
    )


def _header(
    name: str, statuses: Sequence[int] | bool, description: str, **further: Any
) -> OpenApiParameter:
    header = {"type": str, "location": OpenApiParameter.HEADER, "required": True, **further}
    return OpenApiParameter(name, response=statuses, description=description, **header)


_DETAIL = inline_serializer("RequestRefused", {"detail": serializers.CharField()})
_LOGIN_REFUSED = OpenApiResponse(
    _refusal("LoginRefused", errors.CredentialsError),
    description="Wrong credentials, or the user is inactive.",
)
_REFRESH_REFUSED = OpenApiResponse(
    _refusal(
        "RefreshRefused",
        errors.InvalidTokenError,
        errors.ExpiredTokenError,
        errors.RevokedTokenError,
        errors.ReusedTokenError,
    ),
    description="The refresh token is refused. After `token_reused` its session has ended.",
)
_TOKEN_REFUSED = OpenApiResponse(
    _refusal(
        "TokenRefused",
        errors.InvalidTokenError,
        errors.ExpiredTokenError,
        errors.RevokedTokenError,
        is_coded=False,
    ),
    description="The access token is refused. There is no `code` where none was sent.",
)
_FAILED = OpenApiResponse(
    _refusal("RequestFailed", errors.UnavailableError, errors.CacheUnavailableError),
    description="The database or the cache failed this request.",
)
_UNDECIDED = OpenApiResponse(
    _refusal(
        "TokenUndecided",
        errors.UnavailableError,
        errors.DenylistUnavailableError,
        errors.IssuerUnavailableError,
    ),
    description=(
        "Whether the access token is good cannot be told now, or the database failed this request."
    ),
)
_REVOCATION_REFUSED = OpenApiResponse(
    _refusal(
        "RevocationRefused",
        errors.InvalidTokenError,
        errors.ExpiredTokenError,
        errors.RevokedTokenError,
    ),
    description=(
        "The access token in the `Authorization` header is refused, and the body has no token."
    ),
)
_REVOCATION_FAILED = OpenApiResponse(
    _refusal(
        "RevocationFailed",
        errors.UnavailableError,
        errors.CacheUnavailableError,
        errors.DenylistUnavailableError,
        errors.IssuerUnavailableError,
    ),
    description=(
        "The database or the cache failed this request, or whether the access token is good "
        "cannot be told."
    ),
)
_TOO_LARGE = OpenApiResponse(
    _DETAIL, description=f"The body has more than {parsers.LONGEST_BODY} bytes."
)
_WRONG_TYPE = OpenApiResponse(
    _DETAIL, description="The body is neither JSON nor a form, or its charset is not UTF-8."
)
_TOO_MANY = OpenApiResponse(_DETAIL, description="Too many attempts.")
_OUT_OF_SCOPE = OpenApiResponse(
    _DETAIL, description="The token has a `scope` without `sessions` in it, or is another issuer's."
)
_NOT_ONES_OWN = OpenApiResponse(_DETAIL, description="It is not a live session of one's own.")
_ENDED = OpenApiResponse(description="Ended.")

_BEARER_ERRORS = {401: _TOKEN_REFUSED, 503: _UNDECIDED}
_SESSION_ERRORS = {403: _OUT_OF_SCOPE, **_BEARER_ERRORS}

_CHALLENGE = _header("WWW-Authenticate", [401], "A Bearer challenge (RFC 6750 section 3).")
_RETRY_AFTER = _header("Retry-After", [503], "Seconds.", type=int)
_HEADERS = [
    _CHALLENGE,
    _header("WWW-Authenticate", [403], "Names the scope (RFC 6750 section 3.1).", required=False),
    # Not every throttle of a project can tell when it is over.
    _header("Retry-After", [429], "Seconds.", type=int, required=False),
    _RETRY_AFTER,
]
_KEY_HEADERS = [
    _header(
        "Cache-Control",
        [200, 304],
        f"Seconds for which the set may be kept: {key_views.JWKS_MAX_AGE}.",
    ),
    _header("ETag", [200, 304], "Changes with the keys."),
]

_JWK_SET = inline_serializer(
    "JWKSet",
    {
        "keys": inline_serializer(
            "JWK",
            {
                **{name: serializers.CharField() for name in ("kty", "kid", "use", "alg")},
                **{
                    name: serializers.CharField(required=False)
                    for name in ("crv", "x", "y", "n", "e")
                },
            },
            many=True,
        )
    },
)


@cache
def _field_errors(serializer_class: type[serializers.Serializer[Any]]) -> OpenApiResponse:
    """Return the 400 of a serializer: what is wrong with which field, or with the body."""
    name = serializer_class.__name__.removesuffix("Serializer")
    try:
        fields = [*serializer_class().fields, api_settings.NON_FIELD_ERRORS_KEY]
    except Exception:  # one of the project's own, which needs a request
        fields = [api_settings.NON_FIELD_ERRORS_KEY]
    wrong = {
        field: serializers.ListField(child=serializers.CharField(), required=False)
        for field in fields
    }
    body = inline_serializer(
        f"{name}Errors", {**wrong, "detail": serializers.CharField(required=False)}
    )
    return OpenApiResponse(
        body, description="A field is missing or ill-typed, or the body cannot be read."
    )


def _takes_body(view: type[Any], **described: Any) -> Description:
    body_errors = {
        400: _field_errors(view.serializer_class),
        413: _TOO_LARGE,
        415: _WRONG_TYPE,
        503: _FAILED,
    }
    return {"post": described | {"responses": body_errors | described["responses"]}}


def _token_obtain(view: type[Any]) -> Description:
    return _takes_body(
        view,
        summary="Log in",
        description="Exchange credentials for a token pair.",
        responses={200: TokenPairSerializer, 401: _LOGIN_REFUSED},
    )


def _token_refresh(view: type[Any]) -> Description:
    return _takes_body(
        view,
        summary="Refresh",
        description="Exchange a refresh token for the next token pair. It is used up by that.",
        responses={200: TokenPairSerializer, 401: _REFRESH_REFUSED},
    )


def _token_revoke(view: type[Any]) -> Description:
    return _takes_body(
        view,
        summary="Log out",
        description="End the session of a refresh token or of a live access token (RFC 7009). "
        "A token that is unknown, expired or another issuer's is no error, and changes nothing. "
        "Without a token in the body it is the access token in the `Authorization` header.",
        responses={
            200: OpenApiResponse({"type": "object"}, description="Done."),
            401: _REVOCATION_REFUSED,
            503: _REVOCATION_FAILED,
        },
        auth=[{}, {BearerScheme.name: []}],
    )


def _session_list(view: type[Any]) -> Description:
    return {
        "get": {
            "summary": "List one's own sessions",
            "description": "The live ones, newest first.",
            "responses": {200: view.serializer_class(many=True), **_SESSION_ERRORS},
        },
        "delete": {
            "summary": "End one's own sessions",
            "description": "All of them, or with `others` all but the current one.",
            # That of the view for one session would be the same.
            "operation_id": "auth_sessions_destroy_all",
            "parameters": [EndSessionsSerializer],
            "responses": {
                204: _ENDED,
                400: _field_errors(EndSessionsSerializer),
                **_SESSION_ERRORS,
            },
        },
    }


def _session_detail(view: type[Any]) -> Description:
    return {
        "delete": {
            "summary": "End one of one's own sessions",
            "description": "By its `id`, which is the claim `sid` of its access tokens. `current` "
            "is that of the access token that is sent.",
            "parameters": [
                OpenApiParameter(
                    "sid",
                    str,
                    OpenApiParameter.PATH,
                    pattern=f"^([A-Za-z0-9_-]{{22}}|{session_views.CURRENT})$",
                )
            ],
            "responses": {204: _ENDED, 404: _NOT_ONES_OWN, **_SESSION_ERRORS},
        }
    }


def _jwks(view: type[Any]) -> Description:
    return {
        "get": {
            "summary": "Public keys",
            "description": "The keys that verify the access tokens, as a JWK Set "
            "(RFC 7517 section 5).",
            "parameters": [OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER)],
            "responses": {
                200: OpenApiResponse(_JWK_SET),
                304: OpenApiResponse(description="The set is the one that `If-None-Match` names."),
                412: OpenApiResponse(description="The set is not the one that `If-Match` names."),
            },
        }
    }


_DESCRIPTIONS: dict[type[Any], Callable[[type[Any]], Description]] = {
    views.TokenObtainView: _token_obtain,
    views.TokenRefreshView: _token_refresh,
    views.TokenRevokeView: _token_revoke,
    views.SessionListView: _session_list,
    views.SessionDetailView: _session_detail,
    views.JWKSView: _jwks,
}


class BearerScheme(OpenApiAuthenticationExtension):
    """Names the security scheme of all our authentication classes, and of those that inherit from
    them."""

    target_class = "django_jwtauth.authentication.JWTAuthentication"
    name = "jwtAuth"
    match_subclasses = True

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the scheme: a bearer token in JWT format."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class AuthViewDescription(OpenApiViewExtension):
    """Describes our views and those that inherit from them."""

    target_class = "django_jwtauth.views.AuthView"
    match_subclasses = True

    def view_replacement(self) -> type[Any]:
        """Return a view like the discovered one, whose methods are described."""
        ours = next(
            (_DESCRIPTIONS[kind] for kind in self.target.__mro__ if kind in _DESCRIPTIONS), None
        )
        described = {} if ours is None else ours(self.target)
        handlers = {method: self.describe(method, **kwargs) for method, kwargs in described.items()}
        return type(self.target.__name__, (self.target,), handlers)

    def describe(
        self, method: str, responses: dict[int, Any], parameters: Sequence[Any] = (), **kwargs: Any
    ) -> Any:
        """Return a handler that is described as ours is, and first of all as the project itself
        describes it."""
        if self.target.throttle_classes:
            responses = {**responses, 429: _TOO_MANY}
        no_store = _header(
            "Cache-Control", True, "No answer may be stored.", enum=[self.target.cache_control]
        )
        headers = _KEY_HEADERS if issubclass(self.target, views.JWKSView) else [no_store, *_HEADERS]
        kwargs |= {
            "responses": dict(sorted(responses.items())),
            "parameters": [*parameters, *headers],
        }
        handler: Any = extend_schema(tags=["auth"], **kwargs)(lambda *args, **kwargs: None)
        described = handler.kwargs["schema"]
        handler.kwargs["schema"] = type(described.__name__, (_OurSchema, described), {})
        method_of_project = getattr(self.target, method)
        for said in (
            type(self.target.schema),
            getattr(method_of_project, "kwargs", {}).get("schema"),
        ):
            if said is not None and not issubclass(handler.kwargs["schema"], said):
                handler.kwargs["schema"] = type(said.__name__, (said, handler.kwargs["schema"]), {})
        return handler


class _OurSchema(AutoSchema):
    """Describes an operation of ours, and remembers the schemas that it refers to."""

    def get_operation_id(self) -> str:
        """Return a name that is one in the languages that clients are generated in: "jwks.json" has
        a dot."""
        operation_id: str = super().get_operation_id().replace(".", "_").strip("_")
        return operation_id

    def get_operation(self, *args: Any) -> Any:
        """Describe the operation."""
        operation = super().get_operation(*args)
        registry = args[-1]
        schemas = registry.build({}).get("schemas", {})
        remembered = vars(registry).setdefault(REMEMBERED, {})
        to_do = [operation]
        while to_do:
            for name in re.findall(r"#/components/schemas/([\w.-]+)", str(to_do.pop())):
                if name not in remembered:
                    remembered[name] = deepcopy(schemas[name])
                    to_do.append(schemas[name])
        return operation


class _Refused(APIView):
    authentication_classes = ()
    renderer_classes = (JSONRenderer,)
    versioning_class = None

    @extend_schema(responses=_BEARER_ERRORS, parameters=[_CHALLENGE, _RETRY_AFTER])
    def get(self, request: Request) -> None:
        """Never called."""


def document_refusals(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Give every operation that takes an access token the 401 and the 503 with which that may be
    refused.

    For ``POSTPROCESSING_HOOKS`` of ``SPECTACULAR_SETTINGS``. What an operation says about these
    itself stays.
    """
    schema = generator.create_view(_Refused.as_view(), "GET").schema
    refusals = schema.get_operation("/", "", "", "GET", generator.registry)["responses"]
    for path in result["paths"].values():
        # What is not an operation, such as "parameters" that all of them share, is no object or
        # needs no token.
        for operation in filter(lambda member: isinstance(member, dict), path.values()):
            if any(
                BearerScheme.name in requirement for requirement in operation.get("security", [])
            ):
                operation["responses"] = dict(
                    sorted((refusals | operation.get("responses", {})).items())
                )
    components = result["components"]
    components["schemas"] = generator.registry.build({})["schemas"] | components.get("schemas", {})
    return result


def keep_field_names(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Give the fields of our endpoints the names under which they are sent, whatever another hook
    made of them.

    For ``POSTPROCESSING_HOOKS`` of ``SPECTACULAR_SETTINGS``, behind drf-spectacular's
    ``camelize_serializer_fields``: our endpoints speak snake_case in every project.
    """
    schemas = result["components"].get("schemas", {})
    for name, schema in vars(generator.registry).get(REMEMBERED, {}).items():
        if (
            name in schemas
            and schemas[name].get("properties", {}).keys() != schema.get("properties", {}).keys()
        ):
            schemas[name] = schema
    return result
