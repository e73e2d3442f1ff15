"""End sessions from the command line."""

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.management.tokens import read_token

from ...conf import get_config
from ...db.user_rows import names_nobody
from ...jose.encoding import read_id
from ...models import Reason, Session, SessionQuerySet

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Return the time that ``90m`` or ``30d`` means."""
    match = re.fullmatch(r"([0-9]{1,5})([smhdw])", text)
    if match is None:
        raise ArgumentTypeError("write a number and one of s, m, h, d, w, such as 30d")
    number, unit = match.groups()
    return timedelta(**{UNITS[unit]: int(number)})


class Command(BaseCommand):
    """``manage.py jwtauth_revoke``: log out a user, a session, everybody. What is interrupted can
    be run again."""

    help = (
        "Ends sessions: they cannot be refreshed, and their access tokens are refused everywhere "
        "within seconds."
    )

    def run_from_argv(self, argv: list[str]) -> None:
        """Run what was typed."""
        super().run_from_argv(join_values(argv))

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        which = parser.add_argument_group(
            "which sessions; at least one is needed, and all that are given must hold"
        )
        which.add_argument("--user", metavar="NAME", help="Those of the user with this name.")
        which.add_argument(
            "--session", metavar="SID", help="The one with this id: a token's sid, or a UUID."
        )
        which.add_argument(
            "--token",
            metavar="TOKEN",
            help=(
                "The one of this refresh or access token; - reads it from standard input, which "
                "leaves no trace."
            ),
        )
        which.add_argument(
            "--older-than",
            type=duration,
            metavar="AGE",
            help="Those that began longer ago, such as 12h or 30d.",
        )
        which.add_argument("--all", action="store_true", help="All.")
        parser.add_argument(
            "--reason",
            choices=Reason.values,
            default=Reason.ADMIN,
            help="The reason to record (admin).",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count those that are live, and end none."
        )
        parser.add_argument(
            "--no-input", action="store_false", dest="interactive", help="Do not ask."
        )

    def handle(self, *, dry_run: bool, interactive: bool, reason: str, **options: Any) -> None:
        """End the sessions, and print a count."""
        chosen = self._choose(options)
        is_everybody = not any(options[name] for name in ("user", "session", "token", "older_than"))
        # A restored backup may know no session, and yet the access tokens handed out since are
        # accepted.
        if not (is_everybody or chosen.exists()):
            self.stdout.write("No session is left to revoke.")
            return
        count = chosen.live().count()
        if dry_run:
            self.stdout.write(f"Would revoke {count} {noun(count)}.")
            return
        if interactive and not self._is_confirmed(count):
            raise CommandError("Nothing was revoked.")
        ended = 0
        batches = (
            sessions.revoke_everybody_in_batches(reason)
            if is_everybody
            else sessions.revoke_in_batches(chosen, reason)
        )
        for ended_now in batches:
            ended += ended_now
            if count > sessions.MAX_SIGNALLED_SESSIONS:
                self.stdout.write(f"{ended} of {count} so far.")
        self.stdout.write(f"Revoked {ended} {noun(ended)}. {after_that()}")

    def _choose(self, options: dict[str, Any]) -> SessionQuerySet:
        if options["older_than"] is None and not any(
            options[name] for name in ("user", "session", "token", "all")
        ):
            raise CommandError("Say which: --user, --session, --token, --older-than or --all.")
        # Ended ones as well, while an access token of theirs may be alive: after a restore it is
        # not on the denylist.
        chosen = Session.objects.primary().holding_access()
        if options["user"] is not None:
            chosen = chosen.filter(user_id=find_user(options["user"]).pk)
        if options["session"] is not None:
            session_id = read_id(options["session"])
            if session_id is None:
                raise CommandError(
                    "--session is no id: write the 22 characters of a token's sid, or a UUID."
                )
            chosen = chosen.filter(pk=session_id)
        if options["token"] is not None:
            chosen = chosen.filter(pk=find_session(options["token"]).pk)
        if options["older_than"] is not None:
            chosen = chosen.filter(created_at__lt=timezone.now() - options["older_than"])
        return chosen

    def _is_confirmed(self, count: int) -> bool:
        try:
            return input(f"Revoke {count} {noun(count)}? Type yes to go on: ") == "yes"
        except (EOFError, RuntimeError):
            raise CommandError("Nobody can be asked here: add --no-input.") from None


def join_values(argv: list[str]) -> list[str]:
    """Return ``--session -x`` as ``--session=-x``: an id and a name may begin with a dash, as an
    option does."""
    words = iter(argv)
    return [
        "=".join([word, *islice(words, 1)]) if word in {"--session", "--user"} else word
        for word in words
    ]


def after_that() -> str:
    """Return what happens to access tokens."""
    interval = get_config().denylist_interval
    if interval is None:
        return "There is no denylist, so access tokens live until they expire."
    return f"Access tokens are refused everywhere within {interval.total_seconds():g} s."


def noun(count: int) -> str:
    """Return the word for so many."""
    return "session" if count == 1 else "sessions"


def find_user(name: str) -> Any:
    """Return the user with this name, whatever the model's default manager hides."""
    model = get_user_model()
    try:
        user = model._base_manager.filter(**{model.USERNAME_FIELD: name}).first()
    except Exception as error:
        if not names_nobody(error):
            raise
        user = None
    if user is None:
        raise CommandError(f"There is no user with the {model.USERNAME_FIELD} {name!r}.")
    return user


def find_session(token: str) -> Session:
    """Return the session of a token."""
    session = sessions.find(read_token(token))
    if session is None:
        raise CommandError(
            "Not recognised: write a complete refresh token or a valid access token of this site."
        )
    return session
