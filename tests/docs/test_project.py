"""The files beside the code name the same versions, commands and variables as one another."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

import django_jwtauth

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def environments() -> str:
    parser = ConfigParser()
    parser.read(ROOT / "tox.ini")
    return parser["tox"]["env_list"]


def versions(name: str, environments: str) -> set[str]:
    """Return the versions of a part that tox runs, such as ``5.2``."""
    found = re.findall(rf"{name}(?:(\d+)|\{{([\d,]+)\}})", environments)
    return {f"{number[0]}.{number[1:]}" for pair in found for part in pair for number in part.split(",") if number}


@pytest.mark.parametrize(
    ("name", "title"), [("py", "Programming Language :: Python"), ("django", "Framework :: Django")]
)
def test_the_classifiers_are_what_is_tested(name, title, setup, environments):
    classifiers = re.findall(rf"^{title} :: (\d\.\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)
    assert set(classifiers) == versions(name, environments)


def test_commits_are_checked_with_the_ruff_of_ci(setup):
    (pinned,) = re.findall(r"^ruff.*", setup["options.extras_require"]["dev"], re.MULTILINE)
    assert f'"{pinned}"' in (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_newest_version_is_supported():
    newest = ".".join(django_jwtauth.__version__.split(".")[:2])
    assert f"| {newest} | yes |" in (ROOT / "SECURITY.md").read_text()


def test_every_file_and_module_that_a_command_names_exists():
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL))
    files = re.findall(r"\b(?:tests|example_project)/[\w/]+\.py", commands)
    modules = [name.replace(".", "/") for name in re.findall(r"-m ((?:tests|benchmarks)[\w.]*)", commands)]
    assert len(files) > 3
    assert len(modules) > 1
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert [name for name in modules if not (ROOT / name).is_dir() and not (ROOT / f"{name}.py").is_file()] == []


def test_every_variable_that_is_to_be_set_is_read():
    sources = "".join(
        path.read_text() for folder in ("tests", "example_project") for path in (ROOT / folder).rglob("*.py")
    )
    variables = set(re.findall(r"\b([A-Z]+_[A-Z_]+)\b(?==|` names)", CONTRIBUTING))
    assert variables >= {"DATABASE_URL", "JWTAUTH_RACE_ROUNDS", "POSTGRES_URL", "MARIADB_URL"}
    assert [name for name in variables if f'"{name}"' not in sources] == []


def test_what_is_read_beside_the_code_is_in_the_source_distribution():
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    for name in (".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "tests"):
        assert name in manifest
