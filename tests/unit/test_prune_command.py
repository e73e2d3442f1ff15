"""``manage.py jwtauth_prune``."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.models import Session


@pytest.fixture
def prune(user):
    for _ in range(3):
        sessions.start(user)
    yesterday = timezone.now() - timedelta(days=1)
    Session.objects.update(expires_at=yesterday, access_expires_at=yesterday)
    sessions.start(user)

    def prune(*arguments):
        output = StringIO()
        call_command("jwtauth_prune", *arguments, stdout=output)
        return output.getvalue()

    return prune


def test_it_deletes_what_has_expired_and_prints_a_count(prune):
    assert prune("--batch-size=2") == "Deleted 3 expired rows.\n"
    assert Session.objects.count() == 1


@pytest.mark.parametrize("size", ["0", "-1", "x", ""])
def test_a_batch_of_nothing_is_refused(prune, size):
    with pytest.raises(CommandError, match=r"whole number from 1|invalid int value"):
        prune(f"--batch-size={size}")
    assert Session.objects.count() == 4


def test_so_it_is_where_code_calls_the_command(prune):
    with pytest.raises(CommandError, match="whole number from 1"):
        call_command("jwtauth_prune", batch_size=0)


def test_a_dry_run_deletes_nothing(prune):
    assert prune("--dry-run") == "Would delete 3 expired rows.\n"
    assert Session.objects.count() == 4


def test_it_tells_how_far_it_is(prune, monkeypatch):
    monkeypatch.setattr("django_jwtauth.management.commands.jwtauth_prune.ROWS_OF_PROGRESS", 2)
    assert prune("--batch-size=1") == "2 rows so far.\nDeleted 3 expired rows.\n"
