"""The border of the package, and the direction of its imports.

A file at the top is public: a project imports it, or Django finds it. A folder is machinery, from which nothing outside
imports.
"""

import ast
import re
from pathlib import Path

import pytest

import django_jwtauth

PACKAGE = Path(django_jwtauth.__file__).parent
ROOT = PACKAGE.parent

LAYERS = (
    {"errors", "claims", "signals", "rules", "process", "client_info"},
    {"jose", "db"},
    {"conf"},
    {"models", "issuers"},
    {"pruning", "tokens", "denylist", "users", "audit"},
    {"sessions"},
    {"authentication", "permissions", "serializers", "throttling"},
    {"views", "admin", "management", "test"},
    {"urls", "checks", "openapi", "receivers", "pytest_plugin"},
    {"apps"},
)
"""From the bottom to the top; a module imports what is on a lower layer."""
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
SIDEWAYS = {
    # Permissions send the challenge that authentication words.
    ("permissions", "authentication"),
}
REST_FRAMEWORK_FROM = 6
MACHINERY = {"db", "denylist", "issuers", "jose", "process", "rules", "tokens"}
DJANGO_PACKAGES = {"admin", "management", "migrations", "views"}
# Django asks for these to be imported once the models are there.
INSIDE_FUNCTIONS = {("apps", "ready"), ("pytest_plugin", "jwt_client"), ("pytest_plugin", "jwt_steady")}


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    name_of(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "migrations" not in path.parts and path != PACKAGE / "__init__.py"
}


def imports_of(module, tree, is_package=False):
    """All modules, by absolute name, that a module asks for anywhere in it."""
    parents = ["django_jwtauth", *module.split(".")]
    package = parents if is_package else parents[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if source == "django_jwtauth":
                yield from (f"{source}.{alias.name}" for alias in node.names)
            else:
                yield source


def siblings_of(module, tree, is_package=False):
    own = module.partition(".")[0]
    for name in imports_of(module, tree, is_package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "django_jwtauth" and target not in {own, "__version__"}:
            yield target


def parsed(module):
    return ast.parse(MODULES[module].read_text())


def siblings(module):
    return siblings_of(module, parsed(module), MODULES[module].name == "__init__.py")


def test_every_module_has_a_layer():
    assert {module.partition(".")[0] for module in MODULES} == LEVELS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_and_never_sideways(module):
    own = module.partition(".")[0]
    wrong = [name for name in siblings(module) if LEVELS[name] >= LEVELS[own] and (own, name) not in SIDEWAYS]
    assert wrong == []


def test_every_exception_is_still_needed():
    taken = {(module.partition(".")[0], name) for module in MODULES for name in siblings(module)}
    assert taken >= SIDEWAYS


@pytest.mark.parametrize(
    "module", [module for module in MODULES if LEVELS[module.partition(".")[0]] < REST_FRAMEWORK_FROM]
)
def test_the_core_does_not_know_the_rest_framework(module):
    frameworks = {name.partition(".")[0] for name in imports_of(module, parsed(module))}
    assert frameworks.isdisjoint({"rest_framework", "drf_spectacular"})


@pytest.mark.parametrize("module", [module for module in MODULES if module.partition(".")[0] == "jose"])
def test_the_standards_know_neither_settings_nor_database(module):
    imported = {name for name in imports_of(module, parsed(module)) if name.startswith("django.")}
    assert not any(name.startswith(("django.conf", "django.db")) for name in imported)
    assert not set(siblings(module)) - {"errors", "rules"}


def test_every_folder_is_machinery_or_of_django():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == MACHINERY | DJANGO_PACKAGES


def imported_by_readers():
    """The modules of the package that README, documentation and example import."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "example_project").rglob("*.py")]
    for page in pages:
        text = page.read_text()
        for module in re.findall(r"^\s*(?:from|import) django_jwtauth\.([\w.]+)", text, re.MULTILINE):
            yield module
        for names in re.findall(r"^\s*from django_jwtauth import ([\w, ]+)$", text, re.MULTILINE):
            yield from re.split(r",\s*", names)
        for module in re.findall(r"django_jwtauth\.(\w+)\.\w+", text):
            yield module


def test_readers_import_only_what_is_at_the_top():
    public = {module for module in MODULES if "." not in module} - MACHINERY
    assert {name.partition(".")[0] for name in imported_by_readers()} <= public | DJANGO_PACKAGES | {"__version__"}


def test_the_package_lists_its_public_modules():
    listed = set(re.findall(r"^``(\w+)``", django_jwtauth.__doc__, re.MULTILINE))
    assert listed <= {module for module in MODULES if "." not in module} - MACHINERY
    documented = {name.partition(".")[0] for name in imported_by_readers()} - {
        "__version__",
        "urls",
        "pytest_plugin",
        "management",
    }
    assert documented <= listed


@pytest.mark.parametrize("module", MODULES)
def test_no_function_imports(module):
    importing = {
        function.name
        for function in ast.walk(parsed(module))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert {(module, name) for name in importing} <= INSIDE_FUNCTIONS


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from . import claims, users", ["claims", "users"]),
        ("from .jose.keys import Key", ["jose"]),
        ("from .jose import keys", ["jose"]),
        ("from django_jwtauth.jose.keys import Key", ["jose"]),
        ("import django_jwtauth.conf", ["conf"]),
        ("def function():\n    from . import views", ["views"]),
        ("from . import __version__", []),
        ("import json", []),
    ],
)
def test_the_reader_of_imports_sees_every_spelling(statement, expected):
    assert list(siblings_of("sessions", ast.parse(statement))) == expected


def test_the_reader_of_imports_resolves_dots_from_the_package_of_the_module():
    assert list(siblings_of("management.commands.name", ast.parse("from ...conf import x"))) == ["conf"]
    assert list(siblings_of("management.commands.name", ast.parse("from . import other"))) == []
    assert list(siblings_of("denylist", ast.parse("from . import loading"), True)) == []
