"""Make a new signing key."""

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...jose.key_parsing import ALGORITHMS, MINIMUM_SECRET_BYTES
from ...jose.keys import Key, generate_private_key


class Command(BaseCommand):
    """``manage.py jwtauth_generate_key``: the key goes to standard output or a file, the advice to
    standard error."""

    help = (
        "Makes a new key for SIGNING_KEYS: a private key, or for HS256, HS384 and HS512 a secret."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--algorithm",
            choices=ALGORITHMS,
            default="ES256",
            help="Default: ES256, which every gateway and library can verify.",
        )
        parser.add_argument(
            "--format",
            choices=("pem", "jwk", "settings"),
            default="pem",
            help="PEM (default; of a secret, its text), a JWK, or the whole line for SIGNING_KEYS.",
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help=(
                "Write a new file that only you can read, instead of printing. One that is there "
                "is left alone."
            ),
        )

    def handle(self, *, algorithm: str, format: str, output: Path | None, **options: Any) -> None:
        """Print or write the key; tell its ``kid``, and how the settings name it."""
        entry = _generate(algorithm)
        key = Key.from_dict(entry)
        text = self._as(format, key, entry)
        if output is None:
            self.stdout.write(text)
        else:
            self._write(output, text)
        self.stderr.write(f"The kid of this key is {key.kid}. Keep the key out of the repository.")
        if format == "settings":
            self.stderr.write(
                'Set JWTAUTH["ISSUER"], and add that line to the list JWTAUTH["SIGNING_KEYS"].'
            )
            return
        self.stderr.write(
            'Set JWTAUTH["ISSUER"], and add this to the list JWTAUTH["SIGNING_KEYS"]:'
        )
        source = 'os.environ["JWT_KEY"]' if output is None else f"Path({str(output.absolute())!r})"
        if output is not None and key.is_symmetric:
            source += ".read_text().strip()"
        self.stderr.write(f'{{"ALGORITHM": "{algorithm}", "{list(entry)[1]}": {source}}}')

    def _as(self, format: str, key: Key, entry: dict[str, str]) -> str:
        if format == "settings":
            return json.dumps(entry)
        if format == "pem":
            return list(entry.values())[1]
        if key.is_symmetric:
            raise CommandError(
                "A secret is not written as a JWK. Leave out --format, or choose another algorithm."
            )
        jwk: dict[str, Any] = key.implementation.to_jwk(key.signing_key, as_dict=True)
        jwk.pop("key_ops", None)
        return json.dumps(jwk | key.public_jwk())

    def _write(self, path: Path, text: str) -> None:
        try:
            # Fails where there is a file, a folder or a link. Nobody else can read the new file at
            # any moment.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{text}\n")
        except OSError as error:
            raise CommandError(f"{path} was not written: {error.strerror}.") from error


def _generate(algorithm: str) -> dict[str, str]:
    """Return a new key as ``SIGNING_KEYS`` has it."""
    if algorithm in MINIMUM_SECRET_BYTES:
        random = secrets.token_bytes(MINIMUM_SECRET_BYTES[algorithm])
        return {"ALGORITHM": algorithm, "SECRET": base64.b64encode(random).decode("ascii")}
    return {"ALGORITHM": algorithm, "PRIVATE_KEY": generate_private_key(algorithm).strip()}
