"""Delete what has expired."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_jwtauth import pruning

ROWS_OF_PROGRESS = 100_000


def batch_size(text: str) -> int:
    """Return the number of rows that a text means."""
    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError("write a whole number from 1")
    return int(text)


class Command(BaseCommand):
    """``manage.py jwtauth_prune``: run it daily, while the site runs. What is interrupted goes on the next time."""

    help = "Deletes sessions and denylist entries that can concern no token any more."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--batch-size", type=batch_size, default=5000, help="Rows to delete at a time (5000).")
        parser.add_argument("--dry-run", action="store_true", help="Count them and delete nothing.")

    def handle(self, *, batch_size: int, dry_run: bool, **options: Any) -> None:
        """Prune, and print a count."""
        if dry_run:
            self.stdout.write(f"Would delete {pruning.count_expired()} expired rows.")
            return
        deleted = 0
        for batch in pruning.prune(batch_size):
            if deleted // ROWS_OF_PROGRESS < (deleted + batch) // ROWS_OF_PROGRESS:
                self.stdout.write(f"{deleted + batch} rows so far.")
            deleted += batch
        self.stdout.write(f"Deleted {deleted} expired rows.")
