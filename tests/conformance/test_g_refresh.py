"""G. Refresh tokens"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.utils import timezone

from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.tokens import refresh as refresh_tokens
from tests.conformance.conftest import REFRESH, claims_of, session_of
from tests.conformance.registry import OWN, shown_elsewhere, states
from tests.conformance.tokens import content_of, segment
from tests.support.ageing import age, stop_clock
from tests.support.answers import assert_grant_refused
from tests.support.statements import statements

LEEWAY = timedelta(seconds=10)
DAY = 24 * 3600


@pytest.fixture
def rotate(refresh):
    """Return a function that refreshes, successfully, and returns the new pair."""

    def rotate(tokens):
        answer = refresh(tokens["refresh_token"])
        assert answer.status_code == HTTPStatus.OK
        return answer.json()

    return rotate


@pytest.fixture
def refuses_refresh(refresh):
    """Return a function that fails unless a refresh token is refused with this code."""
    return lambda tokens, code: assert_grant_refused(refresh(tokens["refresh_token"]), code)


@states(
    75,
    "A refresh token is exchanged for a new access token and a new refresh token.",
    "RFC 6749 section 6",
    "RFC 9700 section 4.14.2",
)
def test_rotation(tokens, rotate, call):
    later = rotate(tokens)
    assert later["access_token"] != tokens["access_token"]
    assert later["refresh_token"] != tokens["refresh_token"]
    assert call(later["access_token"]).status_code == HTTPStatus.OK
    assert rotate(later)


@states(
    76,
    "A used refresh token that comes back after the leeway ends the session: its newest refresh token and its access "
    "tokens are refused from then on.",
    "RFC 9700 section 4.14.2",
)
def test_reuse(tokens, rotate, refuses_refresh, refuses):
    newest = rotate(tokens)
    age(session_of(tokens), LEEWAY)
    refuses_refresh(tokens, "token_reused")
    refuses_refresh(newest, "token_revoked")
    for pair in (tokens, newest):
        refuses(pair["access_token"], "token_revoked")


shown_elsewhere(
    __name__,
    77,
    "So it does where `ATOMIC_REQUESTS` rolls back what a refused request has written.",
    OWN,
    by=(
        "tests/http/test_views.py::TestAtomicRequests::test_the_end_of_a_reused_session_stays_written",
        "tests/http/test_views.py::TestAtomicRequests::test_so_it_does_in_a_subclass_with_its_own_dispatch",
    ),
)


@states(
    78,
    "Many refreshes with one token within the leeway all succeed, get the same refresh token and rotate once.",
    OWN,
    also=("tests/databases/test_races.py::test_one_token_from_many_clients_is_one_rotation",),
)
def test_many_at_once(tokens, rotate):
    pairs = [rotate(tokens) for _ in range(16)]
    assert len({pair["refresh_token"] for pair in pairs}) == 1
    assert len({pair["access_token"] for pair in pairs}) == 16
    assert session_of(tokens).generation == 1


@states(
    79,
    "The token before the predecessor is reuse, within the leeway too.",
    OWN,
    also=("tests/databases/test_races.py::test_two_generations_old_inside_the_leeway_is_reuse",),
)
def test_two_generations_old(tokens, rotate, refuses_refresh):
    newest = rotate(rotate(tokens))
    refuses_refresh(tokens, "token_reused")
    refuses_refresh(newest, "token_revoked")


@states(80, "Rotations are ordered rightly where the clock stands still.", OWN)
def test_a_clock_that_stands_still(tokens, rotate, refuses_refresh, monkeypatch):
    now = timezone.now()
    stop_clock(monkeypatch, now.timestamp())
    monkeypatch.setattr(timezone, "now", lambda: now)
    pairs = [tokens]
    for generation in range(1, 20):
        pairs.append(rotate(pairs[-1]))
        Session.objects.update(refreshed_at=now)
        assert session_of(tokens).generation == generation
    assert len({pair["refresh_token"] for pair in pairs}) == 20
    assert rotate(pairs[-2])["refresh_token"] == pairs[-1]["refresh_token"]
    refuses_refresh(pairs[-3], "token_reused")


@states(
    81,
    "`SESSION_LIFETIME` counts from the login whatever is refreshed, `REFRESH_TOKEN_LIFETIME` ends a session that is "
    "not used, and `refresh_expires_in` tells the nearer end.",
    "RFC 9700 section 4.14.2",
)
class TestLifetimes:
    @pytest.fixture(autouse=True)
    def _lifetimes(self, jwtauth):
        jwtauth(SESSION_LIFETIME=timedelta(days=5), REFRESH_TOKEN_LIFETIME=timedelta(days=2))

    def test_no_refresh_extends_a_session(self, tokens, rotate, refuses_refresh):
        told = [tokens["refresh_expires_in"]]
        for _ in range(4):
            age(session_of(tokens), timedelta(days=1))
            tokens = rotate(tokens)
            told.append(tokens["refresh_expires_in"])
        assert [round(seconds / DAY, 3) for seconds in told] == [2, 2, 2, 2, 1]
        age(session_of(tokens), timedelta(days=1))
        refuses_refresh(tokens, "token_expired")

    def test_an_unused_session_ends(self, tokens, refuses_refresh):
        age(session_of(tokens), timedelta(days=2))
        refuses_refresh(tokens, "token_expired")

    def test_no_access_token_outlives_it(self, tokens, rotate):
        for days in (2, 2, 1):
            age(session_of(tokens), timedelta(days=days) - timedelta(seconds=30))
            tokens = rotate(tokens)
        assert 60 <= tokens["expires_in"] <= 90


@states(
    82,
    "An expired, unknown, shortened or changed refresh token is refused; a malformed one costs no query.",
    "RFC 6749 section 5.2",
)
class TestBadTokens:
    def test_expired_and_unknown(self, tokens, refuses_refresh):
        age(session_of(tokens), timedelta(days=14))
        refuses_refresh(tokens, "token_expired")
        Session.objects.all().delete()
        refuses_refresh(tokens, "token_invalid")

    def test_changed(self, tokens, refuses_refresh, rotate):
        data = content_of(tokens["refresh_token"].removeprefix("jrt_"))
        for byte in range(len(data)):
            flipped = data[:byte] + bytes([data[byte] ^ 1 << byte % 8]) + data[byte + 1 :]
            refuses_refresh({"refresh_token": f"jrt_{segment(flipped)}"}, "token_invalid")
        assert rotate(tokens)

    def test_malformed(self, tokens, refresh):
        good = tokens["refresh_token"]
        texts = [
            good[:-1],
            good + "A",
            good.removeprefix("jrt_"),
            good.upper(),
            f" {good}",
            f"{good}=",
            "jrt_",
            "x",
            "\0",
        ]
        texts += [good[:20] + character + good[21:] for character in "+/=.é \n"]
        with statements() as executed:
            for text in texts:
                assert_grant_refused(refresh(text), "token_invalid")
        assert executed == []
        assert refresh(good).status_code == HTTPStatus.OK


@states(83, "A field that is missing or of another type is 400, and the answer names it.", "RFC 6749 section 5.2")
@pytest.mark.parametrize(
    "body", [{}, {"token": "x"}, *({"refresh_token": value} for value in (None, 1, True, [], {}, ""))]
)
def test_fields(db, client, body):
    answer = client.post(REFRESH, body, format="json")
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert set(answer.json()) == {"refresh_token"}


@states(84, "After a deactivation, a deletion or a password change a refresh is refused.", "RFC 9700 section 4.14.2")
@pytest.mark.parametrize(
    "change",
    [{"is_active": False}, {"password": "!"}, {"password": "md5$salt$0"}, None],
    ids=["inactive", "unusable", "changed", "gone"],
)
@pytest.mark.parametrize("retry", [False, True])
def test_users(user, tokens, rotate, refuses_refresh, change, retry):
    if retry:
        rotate(tokens)
    if change is None:
        user.delete()
    else:
        get_user_model().objects.filter(pk=user.pk).update(**change)
    refuses_refresh(tokens, "token_revoked" if change else "token_invalid")


@states(
    85,
    "Nothing that is stored is a refresh token, and from all that is stored none can be made without the secret key.",
    "RFC 6749 section 10.4",
)
class TestStoredValues:
    @pytest.mark.usefixtures("_unthrottled")
    def test_no_column_holds_one(self, tokens, rotate, refresh):
        rotate(tokens)
        stored = [
            row for model in (Session, DenylistEntry, get_user_model(), LogEntry) for row in model.objects.values_list()
        ]
        for value in {value for row in stored for value in row if value not in (None, "")}:
            is_binary = isinstance(value, bytes | memoryview)
            for text in [bytes(value).decode("latin-1"), segment(bytes(value))] if is_binary else [str(value)]:
                assert tokens["refresh_token"] not in text
                for guess in (text, f"jrt_{text}"):
                    assert_grant_refused(refresh(guess), "token_invalid")

    def test_none_can_be_made_of_them(self, tokens, refresh, rotate, settings):
        session, secret = session_of(tokens), settings.SECRET_KEY
        for guess in ("another secret key, as long as one should be, and a guess", secret[:-1], secret.upper()):
            settings.SECRET_KEY = guess
            made = refresh_tokens.derive(session.pk, session.generation, bytes(session.nonce))
            settings.SECRET_KEY = secret
            assert_grant_refused(refresh(made), "token_invalid")
        assert refresh_tokens.derive(session.pk, session.generation, bytes(session.nonce)) == tokens["refresh_token"]
        # Nor of the secret key, without the row's own random bytes.
        assert_grant_refused(refresh(refresh_tokens.derive(session.pk, session.generation, bytes(16))), "token_invalid")
        assert rotate(tokens)


@states(
    86, "A refresh token is guessed with a chance of 2^-160: each bit of 20 bytes counts.", "RFC 6749 section 10.10"
)
@pytest.mark.usefixtures("_unthrottled")
def test_every_bit_counts(tokens, refresh, rotate):
    data = content_of(tokens["refresh_token"].removeprefix("jrt_"))
    body, mac = data[:-20], data[-20:]
    # Version, session and generation, which are no secret.
    assert body == bytes([1]) + session_of(tokens).pk.bytes + bytes([0])
    for bit in range(160):
        changed = (int.from_bytes(mac, "big") ^ 1 << bit).to_bytes(20, "big")
        assert_grant_refused(refresh(f"jrt_{segment(body + changed)}"), "token_invalid")
    assert rotate(tokens)


@states(
    87,
    "Once a revocation has committed no refresh succeeds, the retry of one neither; an access token that was made just "
    "before is covered.",
    OWN,
    also=(
        "tests/databases/test_races.py::test_no_refresh_succeeds_once_a_revocation_has_committed",
        "tests/proving_ground/test_refresh.py"
        "::test_no_refresh_succeeds_after_a_commit_and_no_token_from_before_lives_past_the_bound",
    ),
)
def test_after_a_revocation(tokens, rotate, revoke, refuses_refresh, refuses):
    newest = rotate(tokens)
    revoke(newest["refresh_token"])
    for pair in (tokens, newest):
        refuses_refresh(pair, "token_revoked")
        refuses(pair["access_token"], "token_revoked")
    assert DenylistEntry.objects.get().expires_at.timestamp() >= claims_of(newest["access_token"])["exp"]
