"""
Mutation testing: change the package in one place at a time, and see that a test fails.

`python -m tests.mutation` does that with the modules below, or with those that are named. A mutant that survives must
be explained in docs/project/assurance/mutation.md; the exit status is 1 where one is not. Modules are
changed in copies below `build/mutation/`, never in place. On SQLite, without servers and processes.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
from cosmic_ray import mutating, plugins
from cosmic_ray.commands.execute import execute
from cosmic_ray.commands.init import init
from cosmic_ray.config import ConfigDict
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

from tests.mutation.operators import Chosen

TESTS = {
    "tokens/refresh": "refresh_tokens sessions",
    "tokens/access": "inspect foreign tokens sessions",
    "issuers/claim_rules": "inspect foreign tokens sessions",
    "tokens/pair": "sessions users",
    "jose/keys": "key_life jwks keys",
    "issuers/own": "key_life jwks keys",
    "process/reloading": "reloading",
    "denylist/__init__": "denylist costs databases sessions",
    "denylist/snapshot": "denylist tenancy costs databases sessions",
    "denylist/loading": "loading denylist",
    "sessions": "sessions costs databases users revoke_command",
    "pruning": "sessions databases prune_command",
    "db/retry": "sessions databases",
    "db/usernames": "users throttling",
    "db/user_rows": "users throttling authentication",
    "authentication": "authentication permissions openapi",
    "users": "users costs authentication databases foreign sessions",
}
"""The tests that know each module best; those that fail soonest come first."""
ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutation"
EXPLAINED = ROOT / "docs" / "project" / "assurance" / "mutation.md"
OPTIONS = ["-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "--nomigrations", "-m", "not processes"]
TIMEOUT = 30.0
"""Seconds after which a mutant that makes a test hang is dead."""
IMPORTED_ONCE = (
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "django.contrib.auth.hashers",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.forms",
    "django.template.backends.django",
    "django.test",
    "django.views.debug",
    "hypothesis",
    "jwt",
    "pytest_django.fixtures",
)


def fails(files: str) -> bool:
    """Tell whether a test fails, by a process that was forked after the libraries were imported: in half the time."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(files.split(),))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def _test(files: list[str]) -> None:
    # Those of the copy, which are found in the working directory.
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.path[:] = [os.getcwd(), *(path for path in sys.path if path not in ("", str(ROOT)))]
    # Written before the first mutant only: what is older than a mutant is never taken for it.
    sys.dont_write_bytecode = any(Path("tests").glob("__pycache__"))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(pytest.main([*OPTIONS, *files]))


def _run_tests(files: str, timeout: float) -> tuple[TestOutcome, str]:
    return (TestOutcome.KILLED if fails(files) else TestOutcome.SURVIVED), ""


def copied(module: str) -> Path:
    """Return a fresh copy of what the tests need."""
    tree = BUILD / module
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("django_jwtauth", "example_project", "tests", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for file in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.cfg")):
        shutil.copy(file, tree)
    return tree


def change(lines: list[str]) -> str:
    """Return what a diff takes away and adds, however it is indented."""
    return "\n".join(line[0] + line[1:].strip() for line in lines if line[1:].strip())


def explained() -> set[str]:
    """Return the mutants that the page explains: each below a line ``@@`` with the name of its function, or *."""
    found = set()
    for block in re.findall(r"^```diff\n(.*?)^```$", EXPLAINED.read_text(), re.MULTILINE | re.DOTALL):
        for place, changes in re.findall(r"^(@@ .*)\n((?:[-+].*\n)+)", block, re.MULTILINE):
            for one in re.findall(r"(?:^-.*\n)+(?:^\+.*\n)*", changes, re.MULTILINE):
                found.add(squeezed(f"{place}\n{change(one.splitlines())}"))
    return found


def squeezed(survivor: str) -> str:
    """Return it without its spaces, of which Cosmic Ray writes more than anybody would."""
    return survivor.replace(" ", "")


def run(module: str) -> list[str]:
    """Try all mutants of a module. Return those that survived."""
    os.chdir(copied(module))
    files = " ".join(str(file) for name in TESTS[module].split() for file in Path("tests").rglob(f"test_{name}.py"))
    if fails(files):
        sys.exit(f"{module}: a test fails without any mutant")
    database = BUILD / f"{module}.sqlite"
    database.unlink(missing_ok=True)
    with use_db(str(database), WorkDB.Mode.create) as work:
        init([Path("django_jwtauth", f"{module}.py")], work, {})
        config = {"test-command": files, "timeout": TIMEOUT, "distributor": {"name": "local"}}
        execute(work, ConfigDict(config))
        names = {item.job_id: item.mutations[0].definition_name for item in work.work_items}
        survivors = [
            f"@@ {module}.{names[job] or '*'}\n{change(re.findall(r'^[-+](?![-+]{2} ).*', result.diff, re.MULTILINE))}"
            for job, result in work.results
            if result.test_outcome is not TestOutcome.KILLED
        ]
    print(f"{module}: {len(names)} mutants, {len(survivors)} survived", flush=True)
    return survivors


def main() -> None:
    """Try the modules that the command line names, or all."""
    plugins.OPERATOR_PROVIDERS.clear()
    plugins.OPERATOR_PROVIDERS["chosen"] = Chosen()
    mutating.run_tests = _run_tests
    for name in IMPORTED_ONCE:
        import_module(name)
    known = {"".join(one.split()) for one in explained()}
    survivors = [survivor for module in sys.argv[1:] or TESTS for survivor in run(module)]
    unexplained = [survivor for survivor in survivors if "".join(survivor.split()) not in known]
    print(*unexplained, sep="\n\n")
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
