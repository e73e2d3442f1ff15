"""The contract for user models, in one process for each kind: a user model cannot be changed in a running one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = [
    "UUIDUser",
    "TextUser",
    "BigUser",
    "EarlyUser",
    "Account",
    "ChildUser",
    "SoftUser",
    "LeavingUser",
    "PartyUser",
    "SaltUser",
]


@pytest.mark.parametrize(("kind", "file"), [*((kind, "contract.py") for kind in KINDS), ("GuestUser", "guests.py")])
def test_the_contract_holds_for(kind, file):
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--ds=tests.support.user_kinds.settings",
            f"tests/support/user_kinds/{file}",
        ],
        cwd=ROOT,
        env={**os.environ, "USER_KIND": kind},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
