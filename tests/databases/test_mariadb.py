"""What MariaDB does differently."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import CharField
from django.db.models.lookups import Exact
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.db import usernames
from django_jwtauth.errors import ReusedTokenError
from django_jwtauth.models import Session

pytestmark = pytest.mark.skipif(connection.vendor != "mysql", reason="asks MariaDB")

AN_HOUR = timedelta(hours=1)


@pytest.fixture
def _elsewhere(db):
    """Let the server live in another time zone than Django's."""
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '-09:30'")
        yield
        cursor.execute("SET time_zone = DEFAULT")


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Kolkata"])
class TestTimeZone:
    def test_what_it_stores_is_true_whatever_the_time_zone_of_the_server(self, user, settings, use_tz, time_zone):
        settings.USE_TZ, settings.TIME_ZONE = use_tz, time_zone
        refreshed = sessions.refresh(sessions.start(user).refresh_token).session
        stored = Session.objects.get(pk=refreshed.pk)
        assert abs(stored.created_at - timezone.now()) < AN_HOUR
        assert abs(stored.refreshed_at - timezone.now()) < AN_HOUR

    def test_a_retry_is_told_from_reuse_whatever_the_time_zone_of_the_server(self, pair, settings, use_tz, time_zone):
        settings.USE_TZ, settings.TIME_ZONE = use_tz, time_zone
        successor = sessions.refresh(pair.refresh_token)
        assert sessions.refresh(pair.refresh_token).refresh_token == successor.refresh_token
        Session.objects.update(refreshed_at=timezone.now() - timedelta(seconds=11))
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)


class TestAccountKey:
    @pytest.fixture(params=["utf8mb4_general_ci", "utf8mb4_uca1400_ai_ci", "utf8mb4_bin", "latin1_swedish_ci"])
    def equal(self, request, db, monkeypatch):
        """Return a function: whether a column of this collation takes two names for one, and whether we do."""
        field = get_user_model()._meta.get_field("username")
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE names (name varchar(150) COLLATE {request.param})")
            monkeypatch.setattr(field, "column", "name")
            monkeypatch.setattr(field, "model", SimpleNamespace(_meta=SimpleNamespace(db_table="names")))

            def compare(one, other):
                cursor.execute("DELETE FROM names")
                cursor.execute("INSERT INTO names VALUES (%s)", [one])
                cursor.execute("SELECT COUNT(*) FROM names WHERE name = %s", [other])
                (found,) = cursor.fetchone()
                return bool(found), usernames.account_key(one, "username") == usernames.account_key(other, "username")

            yield compare
            cursor.execute("DROP TEMPORARY TABLE names")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("alice", "\u00e0lice"),
            ("alice", "alice  "),
            ("alice", "al\u00adice"),
            ("alice", "alice \u00ad"),
            ("stra\u00dfe", "strase"),
            ("stra\u00dfe", "STRASSE"),
            ("\u00f8", "o"),
            ("\u00e6", "ae"),
        ],
    )
    def test_names_that_are_equal_in_the_column_have_one_key(self, equal, one, other):
        same, counted_as_one = equal(one, other)
        assert counted_as_one or not same

    @pytest.mark.parametrize("other", ["bob", "alic", "ali ce"])
    def test_names_that_are_not_have_not(self, equal, other):
        assert equal("alice", other) == (False, False)

    def test_a_name_that_the_column_cannot_hold_has_a_key(self, equal):
        assert usernames.account_key("\U0001f600", "username")


class TestCharacters:
    @pytest.fixture
    def _in_latin1(self, monkeypatch):
        """Compare names as a column does that has the character set of an old database."""
        lookup = CharField.get_lookup

        class InLatin1(Exact):
            def process_lhs(self, compiler, connection, lhs=None):
                sql, parameters = super().process_lhs(compiler, connection, lhs)
                return f"CONVERT({sql} USING latin1) COLLATE latin1_swedish_ci", parameters

        monkeypatch.setattr(
            CharField, "get_lookup", lambda self, name: InLatin1 if name == "exact" else lookup(self, name)
        )

    @pytest.mark.usefixtures("_in_latin1")
    @pytest.mark.parametrize("name", ["\U0001f600", "\u0416", "bob"])
    def test_a_name_that_the_column_cannot_hold_is_nobodys(self, user, client, name):
        answer = client.post("/auth/token/", {"username": name, "password": "x"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "invalid_credentials")
        answer = client.post("/auth/token/", {"username": "alice", "password": "correct horse"}, format="json")
        assert answer.status_code == HTTPStatus.OK
