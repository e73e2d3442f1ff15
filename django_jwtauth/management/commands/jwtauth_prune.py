"""Delete what has expired."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_jwtauth import pruning

ROWS_OF_PROGRESS = 100_000


class Command(BaseCommand):
    """``manage.py jwtauth_prune``: run it daily, while the site runs. What is interrupted goes on
    the next time."""

    help = "Deletes sessions and denylist entries that can concern no token any more."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--batch-size", type=int, default=5000, help="Rows to delete at a time (5000)."
        )
        parser.add_argument("--dry-run", action="store_true", help="Count them and delete nothing.")

    def handle(self, *, batch_size: int, dry_run: bool, **options: Any) -> None:
        """Prune, and print a count."""
        if batch_size < 1:
            raise CommandError("--batch-size is a whole number from 1.")
        if dry_run:
            self.stdout.write(f"Would delete {pruning.count_expired()} expired rows.")
            return
        deleted = 0
        for batch in pruning.prune(batch_size):
            if deleted // ROWS_OF_PROGRESS < (deleted + batch) // ROWS_OF_PROGRESS:
                self.stdout.write(f"{deleted + batch} rows so far.")
            deleted += batch
        self.stdout.write(f"Deleted {deleted} expired rows.")
