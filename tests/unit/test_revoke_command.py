"""``manage.py jwtauth_revoke``."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command, load_command_class
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.db.clock import DatabaseNow
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import RevokedTokenError
from django_jwtauth.jose.encoding import decode_id, encode_id, new_id
from django_jwtauth.management.commands import jwtauth_revoke
from django_jwtauth.models import DenylistEntry, Session
from tests.support.statements import failing


@pytest.fixture
def revoke(monkeypatch):
    """Run the command; what is typed is read from ``typed``."""

    def run(*arguments, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        output = io.StringIO()
        call_command("jwtauth_revoke", *arguments, stdout=output)
        return output.getvalue()

    return run


@pytest.fixture
def logins(user, other_user):
    """Two sessions of one user, one of another."""
    return [sessions.start(owner) for owner in (user, user, other_user)]


def ended():
    return {session.sid for session in Session.objects.exclude(revoked_at=None)}


def sids(*pairs):
    return {pair.session.sid for pair in pairs}


def test_it_ends_the_sessions_of_a_user_and_says_how_many_and_when(revoke, logins):
    told = revoke("--user=alice", "--no-input")
    assert told == "Revoked 2 sessions. Access tokens are refused everywhere within 5 s.\n"
    assert ended() == sids(*logins[:2])
    with pytest.raises(RevokedTokenError):
        sessions.verify(logins[0].access_token)
    assert sessions.verify(logins[2].access_token)


@pytest.mark.parametrize("spell", [str, lambda sid: str(decode_id(sid))])
def test_one_session_by_its_id(revoke, logins, spell):
    assert "Revoked 1 session." in revoke(f"--session={spell(logins[1].session.sid)}", "--no-input")
    assert ended() == sids(logins[1])


@pytest.fixture
def type_command(monkeypatch, capsys):
    """Run the command as ``manage.py`` does with what was typed, and return what it wrote."""
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)

    def run(*arguments):
        command = load_command_class("django_jwtauth", "jwtauth_revoke")
        command.run_from_argv(["manage.py", "jwtauth_revoke", *arguments])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("start", ["-", "--", "-v", "-h", "-0"])
def test_an_id_may_begin_as_an_option_does(type_command, logins, start):
    sid = f"{start}{'A' * (8 - len(start))}QAC{'A' * 10}A"
    Session.objects.filter(pk=logins[1].session.pk).update(id=decode_id(sid))
    assert "Revoked 1 session." in type_command("--no-input", "--session", sid)
    assert ended() == {sid}


def test_a_name_may_begin_as_an_option_does(type_command, django_user_model, logins):
    user = django_user_model.objects.create_user("-v")
    pair = sessions.start(user)
    assert "Revoked 1 session." in type_command("--user", "-v", "--no-input")
    assert ended() == sids(pair)


@pytest.mark.parametrize("name", ["session", "user"])
def test_a_forgotten_value_is_told_and_ends_nothing(type_command, logins, capsys, name):
    with pytest.raises(SystemExit):
        type_command("--all", "--no-input", f"--{name}")
    assert f"argument --{name}: expected one argument" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        type_command(f"--{name}", "--all", "--no-input")
    assert not ended()


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_the_session_of_a_token(revoke, logins, name):
    revoke(f"--token={getattr(logins[1], name)}", "--no-input")
    assert ended() == sids(logins[1])


def test_the_session_of_a_token_from_standard_input(revoke, logins):
    revoke("--token=-", "--no-input", typed=f"{logins[1].refresh_token}\n")
    assert ended() == sids(logins[1])


def test_a_token_typed_at_a_terminal_is_not_shown(logins, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: logins[0].refresh_token)
    assert jwtauth_revoke.find_session("-") == logins[0].session


def test_those_that_logged_in_longer_ago(revoke, logins):
    Session.objects.filter(pk=logins[0].session.pk).update(created_at=timezone.now() - timedelta(days=31))
    assert "No session" in revoke("--older-than=32d", "--no-input")
    assert "No session" in revoke("--older-than=30d", "--user=bob", "--no-input")
    revoke("--older-than=30d", "--no-input")
    assert ended() == sids(logins[0])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", {"seconds": 90}),
        ("5m", {"minutes": 5}),
        ("12h", {"hours": 12}),
        ("30d", {"days": 30}),
        ("2w", {"weeks": 2}),
    ],
)
def test_ages_are_a_number_and_a_unit(text, meant):
    assert jwtauth_revoke.duration(text) == timedelta(**meant)


def test_the_longest_age_is_one_of_the_calendar(revoke, logins):
    assert "No session" in revoke("--older-than=99999w", "--no-input")


def test_no_age_at_all_is_one_too(revoke, logins):
    revoke("--older-than=0s", "--no-input")
    assert ended() == sids(*logins)


@pytest.mark.parametrize("text", ["", "5", "d", "5y", "-5d", "5 d", "1.5h", "100000d", "\u0665d"])
def test_other_ages_are_refused(revoke, logins, text):
    with pytest.raises(CommandError, match="write a number and one of s, m, h, d, w"):
        revoke(f"--older-than={text}", "--no-input")
    assert not ended()


def test_all(revoke, logins):
    assert "Revoked 3 sessions." in revoke("--all", "--no-input")
    assert ended() == sids(*logins)


def test_where_there_is_no_denylist_it_says_what_that_means(revoke, logins, jwtauth):
    jwtauth(DENYLIST_INTERVAL=None)
    assert "live until they expire" in revoke("--all", "--no-input")


def test_it_asks_before_and_does_nothing_without_a_yes(revoke, logins, capsys):
    with pytest.raises(CommandError, match="Nothing was revoked"):
        revoke("--all", typed="y\n")
    assert not ended()
    revoke("--all", typed="yes\n")
    assert "Revoke 3 sessions? Type yes to go on: " in capsys.readouterr().out
    assert ended() == sids(*logins)


def test_where_nobody_can_be_asked_it_says_so(revoke, logins):
    with pytest.raises(CommandError, match="add --no-input"):
        revoke("--token=-", typed=logins[0].refresh_token)
    assert not ended()


def test_a_name_that_is_no_number_is_nobodys_where_names_are_numbers(revoke, logins, monkeypatch):
    monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "id")
    with pytest.raises(CommandError, match="There is no user with the id 'x'"):
        revoke("--user=x", "--no-input")


def test_a_database_that_fails_is_not_taken_for_nobody(revoke, logins):
    with failing("SELECT", OperationalError("gone")), pytest.raises(OperationalError):
        revoke("--user=alice", "--no-input")


def test_without_a_standard_input_nobody_can_be_asked(logins, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CommandError, match="add --no-input"):
        call_command("jwtauth_revoke", "--all")
    with pytest.raises(CommandError, match="Not recognised"):
        call_command("jwtauth_revoke", "--token=-")
    assert not ended()


def test_a_dry_run_ends_nothing(revoke, logins):
    assert revoke("--user=alice", "--dry-run") == "Would revoke 2 sessions.\n"
    assert not ended()


def test_a_dry_run_counts_live_sessions_only(revoke, logins):
    sessions.revoke(logins[0].session)
    Session.objects.filter(pk=logins[2].session.pk).update(expires_at=timezone.now())
    assert revoke("--all", "--dry-run") == "Would revoke 1 session.\n"
    assert revoke("--user=bob", "--dry-run") == "Would revoke 0 sessions.\n"


def test_so_does_the_question_before_it_goes_on(revoke, logins, capsys):
    sessions.revoke(logins[0].session)
    assert "Revoked 2 sessions." in revoke("--all", typed="yes\n")
    assert "Revoke 2 sessions? Type yes to go on: " in capsys.readouterr().out


def test_the_reason_is_noted(revoke, logins):
    revoke("--all", "--no-input")
    assert {session.revoke_reason for session in Session.objects.all()} == {"admin"}


def test_another_reason_is_noted(revoke, logins):
    revoke("--all", "--no-input", "--reason=inactive")
    assert {session.revoke_reason for session in Session.objects.all()} == {"inactive"}
    assert {entry.reason for entry in DenylistEntry.objects.all()} == {"inactive"}


def test_another_run_finds_nothing_live_and_denies_what_a_restored_backup_may_have_lost(revoke, logins):
    revoke("--all", "--no-input")
    DenylistEntry.objects.all().delete()
    denylist.clear()
    assert "Revoked 0 sessions." in revoke("--all", "--no-input")
    assert {str(entry) for entry in DenylistEntry.objects.filter(claim=DenylistEntry.Claim.SID)} == sids(*logins)


def test_what_has_expired_is_left_alone(revoke, logins):
    past = timezone.now() - timedelta(days=1)
    Session.objects.update(expires_at=past, access_expires_at=past)
    assert revoke("--user=alice", "--no-input") == "No session is left to revoke.\n"
    assert revoke("--all", "--no-input").startswith("Revoked 0 sessions.")


def test_it_goes_in_batches_and_says_how_far_it_is(revoke, user, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_SIGNALLED_SESSIONS", 2)
    monkeypatch.setattr(sessions, "MAX_BATCH_ROWS", 2)
    pairs = [sessions.start(user) for _ in range(5)]
    told = revoke("--all", "--no-input").splitlines()
    assert told[:-1] == ["2 of 5 so far.", "4 of 5 so far.", "5 of 5 so far."]
    assert ended() == sids(*pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say which"),
        (["--user=nobody"], "There is no user with the username 'nobody'"),
        (["--user="], "Say which"),
        (["--user=\udcff"], "There is no user with the username"),
        (["--session=x"], "--session is no id"),
        (["--session=00000000-0000-0000-0000-000000000000"], "--session is no id"),
        (["--token=a.b.c"], "Not recognised"),
        (["--token=jrt_x"], "Not recognised"),
        (["--all", "--reason=x"], "invalid choice"),
    ],
)
def test_mistakes_are_told_and_end_nothing(revoke, logins, arguments, message):
    with pytest.raises(CommandError, match=message):
        revoke(*arguments, "--no-input")
    assert not ended()


def test_a_session_that_is_not_there_is_no_mistake(revoke, db):
    assert "No session" in revoke(f"--session={encode_id(new_id())}", "--no-input")


def test_a_refused_token_is_not_repeated(revoke, db):
    with pytest.raises(CommandError) as refused:
        revoke("--token=jrt_secret", "--no-input")
    assert "secret" not in str(refused.value)


def set_back(monkeypatch, by):
    """Set the clock back by which tokens are issued."""
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() - by)


class TestEverybody:
    """``--all`` alone denies by an epoch."""

    @pytest.fixture
    def long_ago(self, user, monkeypatch):
        """A login of ten minutes ago, whose access token is good for an hour."""
        with override_settings(JWTAUTH={**settings.JWTAUTH, "ACCESS_TOKEN_LIFETIME": timedelta(hours=1)}):
            with monkeypatch.context() as then:
                set_back(then, timedelta(minutes=10))
                pair = sessions.start(user)
            moment = timezone.now() - timedelta(minutes=10)
            Session.objects.filter(pk=pair.session.pk).update(created_at=moment, refreshed_at=moment)
            yield pair

    @staticmethod
    def refuses(pair):
        denylist.clear()
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)
        with pytest.raises(RevokedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_one_entry_denies_what_was_issued_before_and_each_later_token_its_own(self, revoke, long_ago, logins):
        assert revoke("--all", "--no-input").startswith("Revoked 4 sessions.")
        of_sessions = DenylistEntry.objects.filter(claim=DenylistEntry.Claim.SID)
        assert {str(entry) for entry in of_sessions} == sids(*logins)
        epoch = DenylistEntry.objects.get(claim=DenylistEntry.Claim.IAT)
        assert epoch.reason == "admin"
        assert epoch.expires_at >= max(Session.objects.values_list("access_expires_at", flat=True))
        ago = timezone.now() - datetime.fromtimestamp(epoch.value.int, UTC)
        assert timedelta(seconds=60) <= ago < timedelta(seconds=90)
        for pair in (long_ago, *logins):
            self.refuses(pair)

    def test_a_retry_moves_no_time_and_its_access_token_is_denied_all_the_same(self, revoke, long_ago):
        # Rotated three minutes ago, and a minute later, by a clock a minute ahead, once more.
        Session.objects.update(refreshed_at=timezone.now() - timedelta(minutes=3))
        revoke("--all", "--no-input")
        assert DenylistEntry.objects.filter(claim=DenylistEntry.Claim.SID).count() == 1
        self.refuses(long_ago)

    def test_a_database_whose_clock_is_behind_ends_all(self, revoke, user, monkeypatch):
        with monkeypatch.context() as then:
            set_back(then, timedelta(minutes=4))
            pair = sessions.start(user)
        Session.objects.update(refreshed_at=timezone.now() - timedelta(minutes=9))
        with monkeypatch.context() as behind:
            behind.setattr(sessions, "DatabaseNow", lambda: DatabaseNow() - timedelta(minutes=5))
            revoke("--all", "--no-input")
        assert DenylistEntry.objects.filter(claim=DenylistEntry.Claim.SID).count() == 1
        later = sessions.start(user)
        self.refuses(pair)
        assert sessions.verify(later.access_token)

    def test_a_login_afterwards_goes_on(self, revoke, logins, user, monkeypatch):
        revoke("--all", "--no-input")
        # Whose clock is almost a minute behind.
        with monkeypatch.context() as behind:
            set_back(behind, timedelta(seconds=58))
            pair = sessions.start(user)
        assert sessions.verify(pair.access_token).sid == pair.session.sid
        assert sessions.refresh(pair.refresh_token)

    def test_a_token_of_a_session_that_a_restored_backup_does_not_know_is_denied(self, revoke, logins, long_ago):
        Session.objects.filter(pk=long_ago.session.pk).delete()
        Session.objects.update(access_expires_at=timezone.now() - timedelta(days=1))
        revoke("--all", "--no-input")
        denylist.clear()
        with pytest.raises(RevokedTokenError):
            sessions.verify(long_ago.access_token)
        assert DenylistEntry.objects.get(claim=DenylistEntry.Claim.IAT).expires_at > timezone.now()

    def test_with_another_condition_there_is_no_epoch(self, revoke, logins):
        revoke("--all", "--user=alice", "--no-input")
        assert set(DenylistEntry.objects.values_list("claim", flat=True)) == {"sid"}
        assert ended() == sids(*logins[:2])

    def test_tokens_of_a_backup_without_any_session_are_denied(self, revoke, logins, long_ago):
        Session.objects.all().delete()
        assert revoke("--all", "--no-input").startswith("Revoked 0 sessions.")
        denylist.clear()
        with pytest.raises(RevokedTokenError):
            sessions.verify(long_ago.access_token)

    @pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=50)])
    def test_a_session_that_began_before_the_clock_was_set_back_ends(self, revoke, logins, ahead):
        # As in the hour that summer time repeats, without time zones.
        Session.objects.update(created_at=timezone.now() + ahead)
        assert revoke("--all", "--no-input").startswith("Revoked 3 sessions.")
        assert ended() == sids(*logins)
