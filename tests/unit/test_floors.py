"""The lowest versions that setup.cfg allows are those that one environment of tox runs with."""

from __future__ import annotations

import os
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

SETUP = ConfigParser()
SETUP.read(Path(__file__).parents[2] / "setup.cfg")
REQUIREMENTS = [
    Requirement(line)
    for section, option in (("options", "install_requires"), ("options.extras_require", "spectacular"))
    for line in SETUP[section][option].strip().splitlines()
]


def floor(requirement: Requirement) -> Version:
    (lowest,) = [Version(clause.version) for clause in requirement.specifier if clause.operator == ">="]
    return lowest


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_no_version_below_the_floor_is_tested(requirement):
    assert Version(version(requirement.name)) >= floor(requirement)


@pytest.mark.skipif("JWTAUTH_FLOORS" not in os.environ, reason="tox -e py311-floor")
def test_the_floors_themselves_are_tested():
    installed = {requirement.name: Version(version(requirement.name)) for requirement in REQUIREMENTS}
    assert installed == {requirement.name: floor(requirement) for requirement in REQUIREMENTS}
