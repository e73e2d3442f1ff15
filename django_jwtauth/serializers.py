"""The shapes of requests and answers. What is done with them is elsewhere."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers

from .db.usernames import MAX_NAME_LENGTH, account_key
from .models import Session


class TextField(serializers.CharField):
    """Text only: a number or a boolean is invalid and is not converted."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text, or fail."""
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class TokenField(TextField):
    """A token, or any other text: what isn't a token is refused where tokens are parsed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, write_only=True, **kwargs)
        # No token contains NUL or the like, but such text gets the one error for a bad token, too.
        self.validators = []


class TokenObtainSerializer(serializers.Serializer[Any]):
    """Credentials, under the user model's own field name."""

    username_field: str | None = None
    """The field that names the account, for the throttles as well. None: ``USERNAME_FIELD``."""

    password = TextField(
        max_length=4096, trim_whitespace=False, write_only=True, style={"input_type": "password"}
    )

    def get_fields(self) -> dict[str, Any]:
        """Put the user name before the password."""
        name = self.username_field or get_user_model().USERNAME_FIELD
        return {
            name: TextField(max_length=MAX_NAME_LENGTH, write_only=True),
            **super().get_fields(),
        }

    def validate(self, attrs: Any) -> Any:
        """Check that the model could hold the name: a number, for example, if names are numbers."""
        name = get_user_model().USERNAME_FIELD
        try:
            field: Any = get_user_model()._meta.get_field(name)
            field.to_python(attrs.get(name))
        except ValidationError as error:
            raise serializers.ValidationError({name: error.messages}) from error
        return attrs


@sensitive_variables()
def read_account(serializer: Any) -> str:
    """Return the account that a login names, the same for every spelling that logs into it.

    ``serializer`` is bound to the body. Only the name is validated: validate() may try a password.

    Raises the REST framework's ``ValidationError`` if the body names no account, and
    ``ImproperlyConfigured`` if the serializer accepts that: all those logins would share one count.
    """
    field_name = _username_field(serializer)
    field = serializer.fields[field_name]
    try:
        name = str(field.run_validation(field.get_value(serializer.initial_data)) or "")
    except serializers.SkipField:
        name = ""
    except (serializers.ValidationError, AttributeError):  # the latter if the body is not an object
        serializer.is_valid(raise_exception=True)
        name = ""
    if not name:
        raise ImproperlyConfigured(
            f"{type(serializer).__name__} accepts a login without {field_name!r}, by which "
            "failures are counted. "
            "Require that field, or name another one in username_field."
        )
    # Cut before normalizing, which takes quadratic time.
    return account_key(name[:MAX_NAME_LENGTH], field_name)


def _username_field(serializer: Any) -> str:
    """Return the name of the field that names the account."""
    fields = [name for name, field in serializer.fields.items() if not field.read_only]
    named = getattr(serializer, "username_field", None) or get_user_model().USERNAME_FIELD
    candidates = [named] if named in fields else [name for name in fields if name != "password"]
    if len(candidates) != 1:
        raise ImproperlyConfigured(
            f"{type(serializer).__name__} has no field {named!r}, by which failed logins are "
            "counted. "
            'Write the name of another one into its class, such as username_field = "email".'
        )
    name: str = candidates[0]
    return name


class TokenRefreshSerializer(serializers.Serializer[Any]):
    """A refresh token."""

    refresh_token = TokenField()


class TokenRevokeSerializer(serializers.Serializer[Any]):
    """Any token (RFC 7009 section 2.1). ``token_type_hint`` is ignored: tokens tell their type."""

    token = TokenField(required=False, help_text="Without it the session of the bearer token ends.")


class TokenPairSerializer(serializers.Serializer[Any]):
    """The answer to a login or a refresh (RFC 6749 section 5.1)."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")
    refresh_token = serializers.CharField()
    refresh_expires_in = serializers.IntegerField(help_text="Seconds.")


class JWKSetSerializer(serializers.Serializer[Any]):
    """A JWK Set (RFC 7517 section 5), for the REST framework's own schema."""

    keys = serializers.ListField(child=serializers.DictField())


class SessionTimeField(serializers.DateTimeField):
    """A time of a session, rounded to the day in UTC.

    The exact time would tell a thief when the owner refreshes, and so when the previous refresh
    token can be sent again unnoticed.
    """

    def __init__(self, rounded: Callable[[Session], datetime], **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)
        self.rounded = rounded

    def get_attribute(self, instance: Session) -> datetime:
        """Return the rounded time."""
        return self.rounded(instance)


def refreshed_day(session: Session) -> datetime:
    """Return when the day of the last refresh began, or the login if that was later."""
    return max(session.created_at, _midnight(session.refreshed_at))


def expiry_day(session: Session) -> datetime:
    """Return when the day ends on which the session expires."""
    return _midnight(session.expires_at) + timedelta(days=1)


def _midnight(moment: datetime) -> datetime:
    utc = moment.astimezone(UTC) if settings.USE_TZ else moment
    return utc.replace(hour=0, minute=0, second=0, microsecond=0)


class SessionSerializer(serializers.ModelSerializer[Session]):
    """One session of the user's own."""

    id = serializers.CharField(source="sid")
    current = serializers.SerializerMethodField()
    refreshed_at = SessionTimeField(
        refreshed_day, help_text="To the day (UTC), but not before the login."
    )
    expires_at = SessionTimeField(
        expiry_day, help_text="The end of the day (UTC) on which the session expires."
    )

    class Meta:
        model = Session
        ref_name = (
            "APISession"  # in an OpenAPI schema, where a project may have sessions of its own
        )
        fields = (
            "id",
            "current",
            "created_at",
            "refreshed_at",
            "expires_at",
            "ip_address",
            "user_agent",
        )
        read_only_fields = fields

    def get_current(self, session: Session) -> bool:
        """Whether the request was made with this session's access token."""
        return session.sid == getattr(self.context["request"].auth, "sid", None)


class EndSessionsSerializer(serializers.Serializer[Any]):
    """Which sessions to end."""

    others = serializers.BooleanField(default=False, help_text="Spare the current session.")
