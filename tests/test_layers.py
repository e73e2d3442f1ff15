import ast
from pathlib import Path

import pytest

import django_jwtauth

PACKAGE = Path(django_jwtauth.__file__).parent

LAYERS = (
    {"errors", "clock", "conf", "claims", "encoding", "key_material", "signals", "strict_json"},
    {"keys", "cache", "client", "download", "models", "prepared", "process"},
    {"audit", "fetched_ring", "listing", "tenancy", "races", "admin_words"},
    {"issuers", "pruning"},
    {"tokens", "refresh_tokens", "denylist", "users"},
    {"pairs"},
    {"sessions"},
    {"authentication", "permissions", "serializers", "throttling", "admin_tables", "admin_forms"},
    {"views", "admin", "management", "test"},
    {"urls", "checks", "openapi", "receivers", "pytest_plugin"},
    {"apps"},
)
REST_FRAMEWORK_FROM = 7
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# Permissions send the challenge that authentication words.
SIDEWAYS = {("permissions", "authentication")}
# Django asks for these to be imported once the models are there.
INSIDE_FUNCTIONS = {("apps", "ready"), ("pytest_plugin", "jwt_client"), ("pytest_plugin", "jwt_steady")}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "migrations" and parts != ("__init__",):
            yield ".".join(parts), path


MODULES = dict(modules())


def imports_of(module, tree):
    """All modules, by absolute name, that a module asks for anywhere in it."""
    package = ["django_jwtauth", *module.split(".")[:-1]]
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


def siblings_of(module, tree):
    own = module.partition(".")[0]
    for name in imports_of(module, tree):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "django_jwtauth" and target not in {own, "__version__"}:
            yield target


def parsed(module):
    return ast.parse(MODULES[module].read_text())


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module):
    assert module.partition(".")[0] in LEVELS


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_and_never_sideways(module):
    own = module.partition(".")[0]
    wrong = [
        name
        for name in siblings_of(module, parsed(module))
        if LEVELS[name] >= LEVELS[own] and (own, name) not in SIDEWAYS
    ]
    assert wrong == []


def test_every_exception_is_still_needed():
    taken = {(module, name) for module in MODULES for name in siblings_of(module, parsed(module))}
    assert taken >= SIDEWAYS


@pytest.mark.parametrize(
    "module", [module for module in MODULES if LEVELS[module.partition(".")[0]] < REST_FRAMEWORK_FROM]
)
def test_the_core_does_not_know_the_rest_framework(module):
    frameworks = {name.partition(".")[0] for name in imports_of(module, parsed(module))}
    assert frameworks.isdisjoint({"rest_framework", "drf_spectacular"})


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
        ("from . import client, users", ["client", "users"]),
        ("from .keys import Key", ["keys"]),
        ("from django_jwtauth.jose.keys import Key", ["keys"]),
        ("import django_jwtauth.keys", ["keys"]),
        ("def function():\n    from . import views", ["views"]),
        ("from . import __version__", []),
        ("import json", []),
    ],
)
def test_the_reader_of_imports_sees_every_spelling(statement, expected):
    assert list(siblings_of("tokens", ast.parse(statement))) == expected


def test_the_reader_of_imports_resolves_dots_from_the_package_of_the_module():
    assert list(siblings_of("management.commands.name", ast.parse("from ...keys import Key"))) == ["keys"]
    assert list(siblings_of("management.commands.name", ast.parse("from . import other"))) == []
