import pytest
from django.utils import translation

from django_jwtauth import errors

KINDS = {
    errors.CredentialsError: ("invalid_credentials", "No active account was found with these credentials."),
    errors.InvalidTokenError: ("token_invalid", "The token is invalid."),
    errors.ExpiredTokenError: ("token_expired", "The token has expired."),
    errors.RevokedTokenError: ("token_revoked", "The token was revoked. Log in again."),
    errors.ReusedTokenError: (
        "token_reused",
        "The refresh token was used before, so its session was ended. Log in again.",
    ),
    errors.UnavailableError: (
        "database_unavailable",
        "The service is temporarily unavailable. Try again in a moment.",
    ),
    errors.CacheUnavailableError: (
        "cache_unavailable",
        "The service is temporarily unavailable. Try again in a moment.",
    ),
    errors.DenylistUnavailableError: (
        "denylist_unavailable",
        "The service is temporarily unavailable. Try again in a moment.",
    ),
    errors.IssuerUnavailableError: (
        "issuer_unavailable",
        "The service is temporarily unavailable. Try again in a moment.",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_code_and_a_sentence(kind):
    assert (kind.code, str(kind.message)) == KINDS[kind]
    assert str(kind()) == str(kind.message)


def test_no_other_kind_is_told_to_a_client():
    bases = {errors.JWTAuthError, errors.TokenError}
    found = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert found - bases == set(KINDS)


def test_no_two_kinds_have_one_code():
    assert len({kind.code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    "kind", [errors.InvalidTokenError, errors.ExpiredTokenError, errors.RevokedTokenError, errors.ReusedTokenError]
)
def test_what_concerns_a_token_is_a_token_error(kind):
    assert issubclass(kind, errors.TokenError)
    assert not issubclass(kind, errors.UnavailableError)


@pytest.mark.parametrize("kind", [errors.DenylistUnavailableError, errors.IssuerUnavailableError])
def test_being_unavailable_says_nothing_about_a_token(kind):
    assert not issubclass(kind, errors.TokenError)
    assert issubclass(kind, errors.UnavailableError)


def test_the_sentence_is_translated_when_it_is_shown():
    error = errors.InvalidTokenError()
    with translation.override("en"):
        assert str(error) == "The token is invalid."
    assert not isinstance(errors.InvalidTokenError.message, str)
