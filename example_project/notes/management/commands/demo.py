from __future__ import annotations

import secrets
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.management.commands import runserver
from django.core.management import BaseCommand, CommandError, call_command

# Plain sh, without jq: whoever tries this out has curl and little else.
TRY_IT = """
Try it in another terminal:

  # Log in; the answer holds an access token and a refresh token
  PAIR=$(curl -s {base}/auth/token/ -H 'Content-Type: application/json' \\
    -d '{{"username": "demo", "password": "{password}"}}'); echo "$PAIR"
  token() {{ echo "$PAIR" | sed "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/"; }}

  # Use the access token
  curl -i {base}/api/ping/ -H "Authorization: Bearer $(token access_token)"; echo
  curl -s {base}/api/notes/ -H "Authorization: Bearer $(token access_token)" -d title=Hello; echo

  # Refresh: a new pair, and the old refresh token is used up
  PAIR=$(curl -s {base}/auth/token/refresh/ -H 'Content-Type: application/json' \\
    -d "{{\\"refresh_token\\": \\"$(token refresh_token)\\"}}"); echo "$PAIR"

  # Log out: the session ends, and /api/ping/ answers 401 to the token that worked above
  curl -i {base}/auth/token/revoke/ -d token=$(token refresh_token); echo

Or log in again and end that session in the admin ("API sessions", "Revoke selected sessions"):

  {base}/admin/

All of this on one page: {base}/
The API, to click through: {base}/api/docs/
"""


class PreparedServer(runserver.Command):
    """
    The development server. It calls ``prepare`` once the port is bound and before the first request, because new
    passwords end all sessions: they must not be set if another demo has the port.
    """

    def __init__(self, prepare: Callable[[], None]) -> None:
        super().__init__()
        self.prepare = prepare

    def on_bind(self, server_port: int) -> None:
        self.prepare()
        super().on_bind(server_port)


class Command(BaseCommand):
    help = "Prepare the database, make two users, print what to try, and run the development server."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("addrport", nargs="?", default="127.0.0.1:8000", help="As for runserver.")
        parser.add_argument(
            "--no-server", action="store_false", dest="server", help="Do everything but run the server."
        )

    def handle(self, *, addrport: str, server: bool, verbosity: int, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo sets the passwords of two users: it runs in debug mode only (DEBUG=1).")

        call_command("migrate", verbosity=max(verbosity - 1, 0), interactive=False)

        def prepare() -> None:
            self.set_password("admin", is_staff=True, is_superuser=True)
            password = self.set_password("demo", is_staff=False, is_superuser=False)
            self.stdout.write(TRY_IT.format(base=base_url(addrport), password=password))
            self.stdout.flush()  # A pipe would hold it back for as long as the server runs.

        if server:
            # The reloader would start this command, not runserver, a second time.
            call_command(PreparedServer(prepare), addrport, use_reloader=False)
        else:
            prepare()

    def set_password(self, username: str, **fields: bool) -> str:
        password = secrets.token_urlsafe(9)
        user, created = get_user_model().objects.get_or_create(username=username)
        for name, value in {"is_active": True, **fields}.items():
            setattr(user, name, value)
        user.set_password(password)
        user.save()
        how = "" if created else " (new: its older sessions are ended)"
        self.stdout.write(f"User {username}, password {password}{how}")
        return password


def base_url(addrport: str) -> str:
    """The address to type for one to listen on: ``8000`` and ``0.0.0.0:8000`` are reached as 127.0.0.1."""
    host, _, port = addrport.rpartition(":")
    return f"http://{host if host.strip('0.') else '127.0.0.1'}:{port}"
