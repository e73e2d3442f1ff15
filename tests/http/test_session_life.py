"""Whatever happens to a session, in whatever order: a model says what must come of it, and so it is.

The model knows what was done and the two clocks. It is compared with the rows, and with what becomes of every token
that was ever handed out, after every step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher, identify_hasher, make_password
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.test import override_settings
from django.utils import timezone
from django.utils.crypto import salted_hmac
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from django_jwtauth import pruning, sessions
from django_jwtauth.db import compiled
from django_jwtauth.db.clock import DatabaseNow
from django_jwtauth.denylist import snapshot
from django_jwtauth.errors import (
    CredentialsError,
    ExpiredTokenError,
    InvalidTokenError,
    ReusedTokenError,
    RevokedTokenError,
    TokenError,
)
from django_jwtauth.models import DenylistEntry, Reason, Session
from django_jwtauth.process import clock, reloading
from django_jwtauth.tokens.pair import TokenPair
from tests.support import keys
from tests.support.fuzzing import EXAMPLES, examples

pytestmark = pytest.mark.usefixtures("quiet")

LEEWAY, INTERVAL = 5, 5
MARGIN = timedelta(hours=1, seconds=LEEWAY)
"""How long what has expired is kept, for clocks that are wrong by an hour."""
AUTH_SALT = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash"
NEVER = 10**9
WRONG_BY = 1800
"""Seconds by which the clock of this process may be wrong, in either direction."""
RINGS = (["SECRET_KEY"], ["ES256", "SECRET_KEY"], ["SECRET_KEY", "ES256"], ["ES256"], ["EdDSA", "ES256"])
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
LIFETIMES = st.sampled_from([30 * SECOND, 10 * 60 * SECOND, HOUR, DAY, 14 * DAY, 30 * DAY])


class FastHasher(PBKDF2PasswordHasher):
    """A hasher that takes no time."""

    algorithm = "fast"
    iterations = 1


HASHERS = [f"{__name__}.FastHasher", "django.contrib.auth.hashers.MD5PasswordHasher"]
PAUSES = st.sampled_from([0, 0, 0, 5, 12, 12, 600, 3600, 86_000, 10 * 86_400])
USERS = st.sampled_from([0, 0, 0, 1, 2])
SETTINGS = st.one_of(
    st.tuples(st.just("ring"), st.sampled_from(RINGS)),
    st.tuples(st.just("hashers"), st.permutations(HASHERS)),
    st.tuples(st.just("access_lifetime"), st.sampled_from([30 * SECOND, 600 * SECOND, HOUR, DAY])),
    st.tuples(st.sampled_from(["refresh_lifetime", "session_lifetime"]), LIFETIMES),
    st.tuples(st.just("reuse_leeway"), st.sampled_from([0 * SECOND, 10 * SECOND, 60 * SECOND])),
    st.tuples(st.just("cap"), st.sampled_from([None, 1, 2])),
)


class Clocks:
    """The clock that is never wrong, that of this process, and that of the database, turned by hand."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.passed = 0.0
        self.wrong_by = self.database_wrong_by = 0

    def monotonic(self) -> float:
        return self.passed

    def time(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        return datetime.fromtimestamp(keys.NOW, UTC) + timedelta(
            seconds=self.wrong_by, milliseconds=round(self.passed * 1000)
        )

    def database_now(self) -> datetime:
        return self.now() + timedelta(seconds=self.database_wrong_by - self.wrong_by)

    def tell_database(self) -> None:
        moment = self.database_now().strftime("%Y-%m-%d %H:%M:%S.%f")
        with connection.cursor() as cursor:
            match connection.vendor:
                case "sqlite":
                    connection.connection.create_function("test_now", 0, lambda: moment)
                case "postgresql":
                    cursor.execute("SELECT set_config('test.now', %s, false)", [moment + "+00"])
                case "mysql":
                    cursor.execute("SET @test_now = %s", [moment])


@pytest.fixture
def clocks(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    """Clocks in the place of all that the app asks for the time, the database's included."""
    clocks = Clocks()
    stopped = SimpleNamespace(time=clocks.time, monotonic=clocks.monotonic)
    for module in (sessions, snapshot, clock, reloading):
        monkeypatch.setattr(module, "time", stopped)
    monkeypatch.setattr(timezone, "now", clocks.now)
    # However busy the machine is, the database answers.
    monkeypatch.setattr(snapshot, "MAX_WAIT_SECONDS", 60)
    monkeypatch.setattr(snapshot.denylist._reloader, "max_wait", 60)
    for vendor, sql in {
        "sqlite": "test_now()",
        "postgresql": "current_setting('test.now')::timestamptz",
        "mysql": "CAST(@test_now AS DATETIME(6))",
    }.items():
        monkeypatch.setattr(DatabaseNow, f"as_{vendor}", lambda self, compiler, connection, sql=sql: (sql, []))
    vars(connections[DEFAULT_DB_ALIAS]).pop(compiled.KEPT, None)
    if connection.vendor == "postgresql":
        # The machine is not going to fail, and to wait for its disk is most of the time.
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")
    yield clocks
    vars(connections[DEFAULT_DB_ALIAS]).pop(compiled.KEPT, None)


@dataclass(eq=False)
class UserModel:
    pk: Any
    encoded: str
    """The stored password."""
    active: bool = True
    gone: bool = False


@dataclass(eq=False)
class SessionModel:
    row: Session
    user: UserModel
    auth: tuple[str, str]
    """The stored password and the secret key under which it was last used."""
    created: datetime
    refreshed: datetime
    expires: datetime
    ends: datetime
    access_expires: int = 0
    generation: int = 0
    ended: str = ""
    """The reason."""
    denied: float | None = None
    """When, by the clock that is never wrong."""
    gone: bool = False
    tokens: dict[tuple[int, str], str] = field(default_factory=dict)
    """Refresh tokens by generation and secret key."""

    def as_row(self) -> tuple[Any, ...]:
        encoded, secret = self.auth
        auth_hash = salted_hmac(AUTH_SALT, encoded, secret=secret * 50, algorithm="sha256").hexdigest()
        access = datetime.fromtimestamp(self.access_expires, UTC)
        return self.generation, self.ended, self.expires, self.ends, access, self.refreshed, auth_hash


@dataclass(frozen=True)
class AccessToken:
    text: str
    session: SessionModel
    issued: int
    expires: int
    key: str


class SessionLife(RuleBasedStateMachine):
    """What users, thieves, administrators and time do to sessions."""

    logins = Bundle("sessions")

    def __init__(self, clocks: Clocks, seen: Counter[str]) -> None:
        super().__init__()
        self.clocks, self.seen = clocks, seen
        clocks.reset()
        self.access_lifetime, self.refresh_lifetime, self.session_lifetime = 600 * SECOND, 14 * DAY, 30 * DAY
        self.reuse_leeway = 10 * SECOND
        self.cap: int | None = None
        self.ring = RINGS[0]
        self.secrets = "a"
        self.hashers = HASHERS
        self.everyone: list[UserModel] = []
        self.all: list[SessionModel] = []
        self.access: list[AccessToken] = []
        self.settings: Any = None
        self.configure()
        self.elsewhere = snapshot.Denylist()

    def configure(self) -> None:
        """Put the settings into force."""
        jwtauth = {
            "ISSUER": keys.ISSUER,
            "SIGNING_KEYS": [name if name == "SECRET_KEY" else keys.entry(name) for name in self.ring],
            "ACCESS_TOKEN_LIFETIME": self.access_lifetime,
            "REFRESH_TOKEN_LIFETIME": self.refresh_lifetime,
            "SESSION_LIFETIME": self.session_lifetime,
            "REUSE_LEEWAY": self.reuse_leeway,
            "MAX_SESSIONS_PER_USER": self.cap,
        }
        current, *fallbacks = (name * 50 for name in self.secrets)
        if self.settings is not None:
            self.settings.disable()
        self.settings = override_settings(
            JWTAUTH=jwtauth, SECRET_KEY=current, SECRET_KEY_FALLBACKS=fallbacks, PASSWORD_HASHERS=self.hashers
        )
        self.settings.enable()

    def teardown(self) -> None:
        self.no_row_holds_a_token()
        self.settings.disable()
        for model in (DenylistEntry, Session, get_user_model()):
            model.objects.all()._raw_delete(connection.alias)

    # What the model knows

    def now(self) -> datetime:
        return self.clocks.now()

    def of(self, user: UserModel) -> list[SessionModel]:
        return [session for session in self.all if session.user is user and not session.gone]

    def is_live(self, session: SessionModel) -> bool:
        return not session.ended and not session.gone and session.expires > self.now()

    def is_holding(self, session: SessionModel) -> bool:
        past = self.now() - MARGIN
        return (not session.ended and session.expires > past) or session.access_expires > past.timestamp()

    def used(self, session: SessionModel) -> SessionModel:
        """This session, or the last one that goes on where it does not; or nearly all would be tried in vain."""
        return session if self.is_live(session) else next(filter(self.is_live, reversed(self.all)), session)

    def matches(self, session: SessionModel) -> bool:
        """Whether its password is still that of the user, under a secret key that is still known."""
        return session.auth[0] == session.user.encoded and session.auth[1] in self.secrets

    def end(self, ended: list[SessionModel], reason: str) -> None:
        for session in ended:
            session.ended = session.ended or reason
            session.denied = self.clocks.passed if session.denied is None else session.denied

    def saved(self, user: UserModel, password: bool = True, active: bool = True) -> None:
        """A user was saved with these fields among others."""
        if active and not user.active:
            ended, reason = self.of(user), Reason.INACTIVE
        elif password:
            ended, reason = [session for session in self.of(user) if not self.matches(session)], Reason.PASSWORD
        else:
            return
        if any(map(self.is_holding, ended)):
            self.end(ended, reason)

    def refusal(self, session: SessionModel, generation: int, secret: str) -> type[TokenError] | None:
        """How a refresh will be refused, and what comes of that."""
        since = max(self.clocks.database_now() - session.refreshed, timedelta(0))
        if session.gone or secret not in self.secrets:
            return InvalidTokenError
        if session.ended:
            return RevokedTokenError
        if not self.is_live(session):
            return ExpiredTokenError
        if not session.user.active or not self.matches(session):
            self.end([session], Reason.PASSWORD if session.user.active else Reason.INACTIVE)
            return RevokedTokenError
        if generation == session.generation or (generation == session.generation - 1 and since < self.reuse_leeway):
            return None
        self.end([session], Reason.REUSE)
        return ReusedTokenError

    def handed_out(self, session: SessionModel, pair: TokenPair) -> None:
        """Note what a session was given, and that it is what it should be given."""
        now, secret = self.now(), self.secrets[0]
        issued = int(now.timestamp())
        expires = min(issued + int(self.access_lifetime.total_seconds()), int(session.expires.timestamp()))
        assert pair.expires_in == expires - issued
        assert pair.refresh_expires_in == int((session.expires - now).total_seconds())
        assert expires <= session.ends.timestamp()
        session.access_expires = max(session.access_expires, expires)
        assert session.tokens.setdefault((session.generation, secret), pair.refresh_token) == pair.refresh_token
        key = secret if self.ring[0] == "SECRET_KEY" else self.ring[0]
        self.access.append(AccessToken(pair.access_token, session, issued, expires, key))

    # What happens

    @initialize(target=logins, skew=st.sampled_from([0, -3600, 7200]), hashers=st.permutations(HASHERS))
    def begin(self, skew: int, hashers: list[str]) -> Any:
        self.clocks.database_wrong_by, self.hashers = skew, hashers
        self.configure()
        self.tick()
        return self.log_in(0, None)

    def tick(self, seconds: float = 0.001) -> None:
        self.clocks.passed += seconds
        self.clocks.tell_database()

    def user(self, who: int) -> UserModel:
        """The one of this number among those who are still there, or a new one."""
        # No two things happen to users at the very same microsecond.
        self.tick()
        present = [user for user in self.everyone if not user.gone]
        if who < len(present):
            return present[who]
        stored = get_user_model().objects.create_user(f"user {len(self.everyone)}", password="first")
        self.everyone.append(UserModel(stored.pk, stored.password))
        return self.everyone[-1]

    @rule(target=logins, who=USERS, lifetime=st.one_of(st.none(), st.none(), LIFETIMES))
    def log_in(self, who: int, lifetime: timedelta | None) -> Any:
        user = self.user(who)
        self.tick()
        stored = get_user_model().objects.get(pk=user.pk)
        assert stored.check_password("first") or stored.check_password("second")
        if identify_hasher(user.encoded).algorithm != identify_hasher(stored.password).algorithm:
            # The hash was upgraded, and that is no change of the password.
            for session in filter(self.matches, self.of(user)):
                session.auth = stored.password, self.secrets[0]
            user.encoded = stored.password
            self.saved(user, active=False)
        if not user.active:
            with pytest.raises(CredentialsError):
                sessions.start(stored)
            return multiple()
        pair = sessions.start(stored, lifetime=lifetime)
        ends = self.now() + (lifetime or self.session_lifetime)
        session = SessionModel(
            row=pair.session,
            user=user,
            auth=(user.encoded, self.secrets[0]),
            created=self.clocks.database_now(),
            refreshed=self.clocks.database_now(),
            expires=min(self.now() + self.refresh_lifetime, ends),
            ends=ends,
        )
        self.all.append(session)
        self.handed_out(session, pair)
        if self.cap is not None:
            live = sorted(filter(self.is_live, self.of(user)), key=lambda session: session.created, reverse=True)
            self.end(live[self.cap :], Reason.LIMIT)
        return session

    @rule(session=logins, pauses=st.lists(PAUSES, min_size=1, max_size=4))
    def use(self, session: SessionModel, pauses: list[float]) -> None:
        """Refresh with the newest token, as a client does."""
        session = self.used(session)
        for pause in pauses:
            self.tick(pause)
            self.refresh(*list(session.tokens.items())[-1], session)

    @rule(session=logins, times=st.integers(1, 2))
    def lose_an_answer(self, session: SessionModel, times: int) -> None:
        """Refresh with the same token again, at the same moment."""
        session = self.used(session)
        token = list(session.tokens.items())[-1]
        for _ in range(1 + times):
            self.refresh(*token, session)

    @rule(session=logins, late_by=st.sampled_from([-1, -0.001, 0, 0.001, 3600, 3606]))
    def come_late(self, session: SessionModel, late_by: float) -> None:
        """Refresh about when it has expired; or long after, when it may be deleted."""
        session = self.used(session)
        self.tick(max((session.expires - self.now()).total_seconds() + late_by - 0.001, 0))
        self.refresh(*list(session.tokens.items())[-1], session)

    @rule(session=logins, back=st.integers(2, 5), prunes=st.booleans())
    def replay(self, session: SessionModel, back: int, prunes: bool) -> None:
        """Refresh with any earlier token, right after the newest was used or whenever it is."""
        if back < 4:
            session = self.used(session)
            self.refresh(*list(session.tokens.items())[-1], session)
        self.refresh(*list(session.tokens.items())[-min(back, len(session.tokens))], session, prunes)

    def refresh(self, named: tuple[int, str], text: str, session: SessionModel, prunes: bool = False) -> None:
        self.tick()
        pruning.PRUNE_EVERY = 1 if prunes else NEVER
        generation, secret = named
        refusal = self.refusal(session, generation, secret)
        self.seen[f"refresh: {refusal and refusal.code}"] += 1
        if refusal is not None:
            assert self.outcome(lambda: sessions.refresh(text)) is refusal
            return
        pair = sessions.refresh(text)
        if generation == session.generation:
            session.generation += 1
            session.expires = min(self.now() + self.refresh_lifetime, session.ends)
            session.auth = session.user.encoded, self.secrets[0]
            session.refreshed = self.clocks.database_now()
        self.handed_out(session, pair)
        if prunes:
            self.pruned()

    @rule(session=logins, back=st.integers(0, 3))
    def revoke(self, session: SessionModel, back: int) -> None:
        """End a session, found by one of its tokens or known."""
        found: Session | None = session.row
        if back:
            (_, secret), text = list(session.tokens.items())[-min(back, len(session.tokens))]
            found = sessions.find(text)
            is_found = not session.gone and session.expires > self.now() and secret in self.secrets
            assert (found is not None) is is_found
        if found is not None:
            assert sessions.revoke(found, Reason.LOGOUT) is (not session.ended and not session.gone)
            self.end([session], Reason.LOGOUT)

    @rule(who=st.sampled_from([1, 2, 0]), spared=st.one_of(logins, st.none()))
    def revoke_all(self, who: int, spared: SessionModel | None) -> None:
        user = self.user(who)
        ended = [session for session in self.of(user) if session is not spared]
        count = sum(map(self.is_live, ended))
        stored = get_user_model().objects.get(pk=user.pk)
        assert sessions.revoke_all(stored, Reason.ADMIN, spared and spared.row) == count
        self.end(ended, Reason.ADMIN)

    @rule(who=USERS, password=st.sampled_from(["first", "second"]), by_save=st.booleans())
    def change_password(self, who: int, password: str, by_save: bool) -> None:
        user = self.user(who)
        user.encoded = make_password(password)
        self.write(user, by_save, None, password=user.encoded)
        if by_save:
            self.saved(user)

    @rule(who=USERS, active=st.sampled_from([True, True, False]), by_save=st.booleans())
    def change_activity(self, who: int, active: bool, by_save: bool) -> None:
        user = self.user(who)
        user.active = active
        self.write(user, by_save, ["is_active"], is_active=active)
        if by_save:
            self.saved(user, password=False)

    @rule(who=USERS)
    def save_unchanged(self, who: int) -> None:
        user = self.user(who)
        self.write(user, True, None)
        self.saved(user)

    def write(self, user: UserModel, by_save: bool, update_fields: list[str] | None, **changes: Any) -> None:
        """Write into a user's row, by ``save`` or by SQL, which sends no signal."""
        found = get_user_model().objects.filter(pk=user.pk)
        if not by_save:
            found.update(**changes)
        for stored in found if by_save else ():
            vars(stored).update(changes)
            stored.save(update_fields=update_fields)

    @rule(who=st.sampled_from([2, 1, 0]), by_queryset=st.booleans())
    def delete(self, who: int, by_queryset: bool) -> None:
        user = self.user(who)
        found = get_user_model().objects.filter(pk=user.pk)
        for doomed in [found] if by_queryset else list(found):
            doomed.delete()
        self.end(self.of(user), Reason.DELETED)
        for session in self.of(user):
            session.gone = True
        user.gone = True

    @rule()
    def prune(self) -> None:
        list(pruning.prune())
        self.pruned()

    def pruned(self) -> None:
        for session in self.all:
            session.gone = session.gone or session.expires < self.now() - MARGIN

    @rule(seconds=st.sampled_from([0.5, 4.997, 4.999, 5, 5.001, 9.997, 9.998, 10, 29, 30, 59, 60]))
    def pass_a_moment(self, seconds: float) -> None:
        self.tick(seconds)

    @rule(seconds=st.sampled_from([300, 599, 601, 3600, 3606, 86_000, 86_401, 10 * 86_400, 14 * 86_400]))
    def pass_a_while(self, seconds: float) -> None:
        self.tick(seconds)

    @rule(seconds=st.sampled_from([-WRONG_BY, -3, 0, 3, WRONG_BY]))
    def put_the_clock_wrong(self, seconds: int) -> None:
        self.clocks.wrong_by = seconds

    @rule(secrets=st.sampled_from(["ba", "ab", "cba", "ba", "acb", "b", "a"]), session=logins)
    def rotate_secret_key(self, secrets: str, session: SessionModel) -> None:
        """Put a new one before the old one, or take the old one away, and go on with what there is."""
        self.secrets = secrets
        self.configure()
        self.use(session, [0])

    @rule(change=SETTINGS)
    def change_settings(self, change: tuple[str, Any]) -> None:
        setattr(self, *change)
        self.configure()

    # What must be true at any time

    @invariant()
    def this_was_a_step(self) -> None:
        self.seen["steps"] += 1

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        rows = Session.objects.values_list(
            "pk",
            "generation",
            "revoke_reason",
            "expires_at",
            "ends_at",
            "access_expires_at",
            "refreshed_at",
            "auth_hash",
        )
        assert {pk: tuple(rest) for pk, *rest in rows} == {
            session.row.pk: session.as_row() for session in self.all if not session.gone
        }

    @invariant()
    def what_is_denied_stays_denied_for_as_long_as_it_could_be_accepted(self) -> None:
        entries = dict(DenylistEntry.objects.values_list("value", "expires_at"))
        accepted_from = self.now().timestamp() - LEEWAY
        for session in self.all:
            if session.denied is not None and session.access_expires > accepted_from:
                assert entries[session.row.pk].timestamp() >= session.access_expires

    @invariant()
    def every_access_token_is_good_for_as_long_as_it_may_be(self) -> None:
        ring = {name for key in self.ring for name in (self.secrets if key == "SECRET_KEY" else [key])}
        now = self.now().timestamp()
        # Those that no clock accepts any more were looked at often enough.
        self.access = [token for token in self.access if token.expires > now - 2 * MARGIN.total_seconds()]
        for token in self.access:
            expected: type[TokenError] | None = None
            if token.key not in ring or token.issued > now + LEEWAY:
                expected = InvalidTokenError
            elif token.expires <= now - LEEWAY:
                expected = ExpiredTokenError
            elif token.session.denied is not None:
                expected = RevokedTokenError
            self.seen[f"verify: {expected and expected.code}"] += 1
            assert self.outcome(lambda token=token: sessions.verify(token.text)) is expected
            if expected in {None, RevokedTokenError}:
                self.another_process_agrees(token)

    def another_process_agrees(self, token: AccessToken) -> None:
        """It does at the latest when the interval is over, and until then it refuses nothing that is good."""
        claims: Any = SimpleNamespace(sid=token.session.row.sid, jti=None, iat=token.issued)
        outcome, denied = self.outcome(lambda: self.elsewhere.check(claims)), token.session.denied
        if denied is None:
            assert outcome is None
        elif self.clocks.passed - denied > INTERVAL:
            assert outcome is RevokedTokenError

    def outcome(self, call: Callable[[], Any]) -> type[TokenError] | None:
        try:
            call()
        except TokenError as error:
            return type(error)
        return None

    def no_row_holds_a_token(self) -> None:
        rows = [list(model.objects.values_list()) for model in (Session, DenylistEntry, get_user_model())]
        stored = repr(rows)
        for session in self.all:
            assert not any(text in stored or text[-27:] in stored for text in session.tokens.values())
        assert not any(token.text.rpartition(".")[2] in stored for token in self.access)


def test_the_life_of_sessions_is_as_the_model_says(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PRUNE_EVERY", NEVER)
    seen = Counter[str]()
    # Fewer where every statement goes to another process.
    steps = hypothesis_settings(
        examples(30 if connection.vendor == "sqlite" else 10), stateful_step_count=100 if EXAMPLES else 40
    )
    run_state_machine_as_test(lambda: SessionLife(clocks, seen), settings=steps)
    print(f"\n{dict(seen)}")
    # What matters was met, or the model would not have been asked.
    assert {"refresh: None", "refresh: token_revoked", "verify: None", "verify: token_revoked"} <= seen.keys()
