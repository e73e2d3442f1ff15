"""F. Revocation reaches access tokens"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from django.apps import apps
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from django.db import OperationalError, transaction
from django.utils import timezone

from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.models import DenylistEntry, Reason, Session
from tests.conformance.conftest import claims_of, session_of
from tests.conformance.registry import OWN, states
from tests.conformance.tokens import ME, PING
from tests.support.ageing import turn_clocks
from tests.support.answers import assert_grant_refused
from tests.support.statements import statements

INTERVAL = 5
PROCESSES = "tests/databases/test_denylist_processes.py::"


@pytest.fixture
def accepts(call):
    """Return a function that fails unless the API accepts an access token."""

    def accepts(access_token, path=PING):
        assert call(access_token, path).status_code == HTTPStatus.OK

    return accepts


@pytest.fixture
def elapse(monkeypatch):
    """Return a function that lets time pass for this process."""
    return lambda seconds: turn_clocks(monkeypatch, seconds)


def deny_elsewhere(tokens, **fields):
    """Deny a session as another process does: this one is not told."""
    session = session_of(tokens)
    values = {"value": session.pk, "expires_at": session.access_expires_at, "reason": Reason.ADMIN, **fields}
    DenylistEntry.objects.bulk_create([DenylistEntry(**values)])


@states(
    65,
    "Once a revocation has committed, every process that reaches the database refuses within `DENYLIST_INTERVAL`, "
    "and the one that revoked at once.",
    OWN,
    also=(
        "tests/http/test_end_to_end.py::test_whatever_ends_a_session_ends_it_in_every_worker",
        "tests/proving_ground/test_transactions.py::test_every_worker_refuses_in_time_what_was_committed_and_nothing_else",
    ),
)
class TestBound:
    def test_at_once(self, tokens, accepts, refuses, revoke):
        accepts(tokens["access_token"])
        revoke(tokens["refresh_token"])
        refuses(tokens["access_token"], "token_revoked")

    def test_within_the_interval(self, tokens, accepts, refuses, elapse):
        accepts(tokens["access_token"])
        deny_elsewhere(tokens)
        elapse(INTERVAL + 0.01)
        refuses(tokens["access_token"], "token_revoked")


@states(66, "Between two loads a request makes no query; with `DENYLIST_INTERVAL` 0 every request loads.", OWN)
@pytest.mark.parametrize(("interval", "loads"), [(INTERVAL, 1), (0, 4)])
def test_queries(tokens, accepts, jwtauth, interval, loads):
    jwtauth(DENYLIST_INTERVAL=timedelta(seconds=interval))
    with statements() as executed:
        for _ in range(4):
            accepts(tokens["access_token"])
    assert ["denylist" in sql for sql in executed] == [True] * loads


@states(
    67,
    "A revocation that commits late, after newer ones were seen, is enforced all the same.",
    OWN,
    also=(f"{PROCESSES}test_a_slow_transaction_counts_from_its_commit_on",),
)
def test_a_late_commit(log_in, accepts, refuses, elapse):
    slow, fast = log_in().json(), log_in().json()
    deny_elsewhere(fast, id=1_000)
    refuses(fast["access_token"], "token_revoked")
    accepts(slow["access_token"])
    deny_elsewhere(slow, id=10, denied_at=timezone.now() - timedelta(minutes=5))
    elapse(INTERVAL + 0.01)
    refuses(slow["access_token"], "token_revoked")


@states(
    68,
    "A revocation that is rolled back denies nothing, neither elsewhere nor in the process that revoked. "
    "Inside of the open transaction of a test it is enforced at once.",
    OWN,
    also=(
        f"{PROCESSES}test_a_slow_transaction_counts_from_its_commit_on",
        "tests/unit/test_denylist.py::TestTransactions::test_a_revocation_that_is_rolled_back_is_never_enforced",
    ),
)
def test_rollback(tokens, revoke, refresh, accepts, refuses, elapse):
    accepts(tokens["access_token"])
    with transaction.atomic():
        revoke(tokens["refresh_token"])
        refuses(tokens["access_token"], "token_revoked")
        transaction.set_rollback(True)
    elapse(INTERVAL + 0.01)
    accepts(tokens["access_token"])
    assert refresh(tokens["refresh_token"]).status_code == HTTPStatus.OK


@states(
    69,
    "A revocation outlives its session and its user, and covers the latest `exp` that was handed out, "
    "also after `ACCESS_TOKEN_LIFETIME` was shortened.",
    OWN,
)
class TestCover:
    def test_the_user_is_deleted(self, user, tokens, revoke, refuses, elapse):
        revoke(tokens["refresh_token"])
        user.delete()
        assert not Session.objects.exists()
        elapse(INTERVAL + 0.01)
        refuses(tokens["access_token"], "token_revoked")

    def test_the_lifetime_was_shortened(self, tokens, refresh, revoke, refuses, accepts, elapse, jwtauth):
        jwtauth(ACCESS_TOKEN_LIFETIME=timedelta(seconds=10))
        later = refresh(tokens["refresh_token"]).json()
        assert later["expires_in"] == 10
        revoke(later["refresh_token"])
        latest = datetime.fromtimestamp(claims_of(tokens["access_token"])["exp"], UTC)
        assert DenylistEntry.objects.get().expires_at >= latest
        elapse(602)
        refuses(tokens["access_token"], "token_revoked")


@states(70, "What may still match is not pruned: an entry stays for the leeway and a margin for wrong clocks.", OWN)
@pytest.mark.parametrize("leeway", [0, 120])
def test_pruning(db, jwtauth, leeway):
    jwtauth(LEEWAY=timedelta(seconds=leeway))
    for ago in (0, leeway, 3600 + leeway - 5, 3600 + leeway + 5):
        expires_at = timezone.now() - timedelta(seconds=ago)
        DenylistEntry.objects.create(value=Session().pk, expires_at=expires_at, reason=Reason.LOGOUT)
    call_command("jwtauth_prune", verbosity=0)
    oldest = DenylistEntry.objects.earliest("expires_at").expires_at
    assert DenylistEntry.objects.count() == 3
    assert timezone.now() - oldest < timedelta(seconds=3600 + leeway)


def change_password(user):
    user.set_password("new")
    user.save()


def deactivate(user):
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete(user):
    user.delete()


@states(
    71,
    "A password change, a deactivation and a deletion end the sessions of the user at once, through proxy models too; "
    "a login and the upgrade of a hash do not. A bulk update sends no signal: refreshing is refused at once, access "
    "ends when it expires.",
    "RFC 9700 section 4.14.2",
    also=("tests/databases/test_user_models.py::test_the_contract_holds_for",),
)
class TestUsers:
    @pytest.mark.parametrize("change", [change_password, deactivate, delete])
    @pytest.mark.parametrize("model", ["auth.User", "people.Person"])
    def test_what_ends_sessions(self, user, tokens, accepts, refuses, refresh, change, model):
        accepts(tokens["access_token"])
        change(apps.get_model(model).objects.get(pk=user.pk))
        refuses(tokens["access_token"], "token_revoked")
        code = "token_invalid" if change is delete else "token_revoked"
        assert_grant_refused(refresh(tokens["refresh_token"]), code)

    def test_what_does_not(self, user, accepts, refresh, log_in):
        # One iteration, so that it takes no time.
        user.password = PBKDF2PasswordHasher().encode("correct horse", "salt", iterations=1)
        user.save()
        tokens = log_in().json()
        user.refresh_from_db()
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        user.email = "alice@example.com"
        user.save()
        assert user.password.startswith("md5$")
        log_in()
        accepts(tokens["access_token"], ME)
        assert refresh(tokens["refresh_token"]).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("change", [{"is_active": False}, {"password": "!"}])
    def test_bulk_updates(self, user, tokens, accepts, refuses, refresh, change):
        get_user_model().objects.filter(pk=user.pk).update(**change)
        accepts(tokens["access_token"])
        assert_grant_refused(refresh(tokens["refresh_token"]), "token_revoked")
        refuses(tokens["access_token"], "token_revoked")


@states(
    72,
    "The list is loaded by the first request and not at start, anew after a fork, from the database that is written "
    "to; who loads it does not hold up the others.",
    OWN,
    also=(
        f"{PROCESSES}test_a_child_forked_during_a_load_loads_for_itself",
        f"{PROCESSES}test_the_database_that_is_written_to_is_what_is_read",
        "tests/unit/test_denylist.py::TestThreads::test_before_the_interval_is_over_the_others_go_on_while_one_reloads",
    ),
)
def test_the_first_request(tokens, accepts):
    with statements() as at_start:
        apps.get_app_config("jwtauth").ready()
    with statements() as first:
        accepts(tokens["access_token"])
    assert (len(at_start), len(first)) == (0, 1)


@states(
    73,
    "A list older than `DENYLIST_MAX_STALENESS` is 503 with `Retry-After` and `denylist_unavailable`, never 401.",
    OWN,
    also=(
        "tests/proving_ground/test_database_loss.py"
        "::test_without_its_database_the_site_goes_on_and_then_says_that_it_cannot",
    ),
)
def test_staleness(tokens, accepts, call, elapse, monkeypatch):
    def fail(*arguments):
        raise OperationalError

    accepts(tokens["access_token"])
    with monkeypatch.context() as failing:
        failing.setattr("django_jwtauth.denylist.loading.read", fail)
        turn_clocks(failing, 59)
        accepts(tokens["access_token"])
        turn_clocks(failing, 2)
        answer = call(tokens["access_token"])
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert (answer["Retry-After"], answer.json()["code"]) == ("5", "denylist_unavailable")
        assert not answer.has_header("WWW-Authenticate")
    denylist.clear()
    accepts(tokens["access_token"])


@states(74, "“Allow again” in the admin takes effect within the same bound.", OWN)
def test_allowing_again(tokens, accepts, refuses, client, elapse):
    deny_elsewhere(tokens)
    refuses(tokens["access_token"], "token_revoked")
    client.force_login(get_user_model().objects.create_superuser("root"))
    act = {"action": "allow_again", ACTION_CHECKBOX_NAME: [DenylistEntry.objects.get().pk], "post": "yes"}
    client.post("/admin/jwtauth/denylistentry/", act)
    elapse(INTERVAL + 0.01)
    accepts(tokens["access_token"])
