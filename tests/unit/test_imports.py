"""The map of the package: which folder may import which."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from ..support.servers import ROOT

PACKAGE = ROOT / "media_asgi"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each folder and module of the top level, and the others that it may import. `http` is pure.
# `sources`, `servers` and `access` don't know each other, except that a writer may send a region of
# a source's file. The handler joins them. The modules that read a project's options come last.
MAY_IMPORT: dict[str, set[str]] = {
    "types": set(),
    "conf": {"http"},
    "manifest": set(),
    "signing": {"http"},
    "http": {"types"},
    "sources": {"http", "types"},
    "servers": {"sources", "http", "types"},
    "access": {"conf", "explain", "signing", "http", "types"},
    "conf_urls": {"conf", "http"},
    "storage": {"conf_urls", "signing"},
    "options": {"access", "http", "manifest", "sources"},
    "location_options": {"access", "conf", "conf_urls", "manifest", "signing", "sources"},
    "django_locations": {"conf_urls", "manifest", "options", "sources", "storage"},
    "location": {
        *("access", "conf", "conf_urls", "django_locations", "http", "location_options"),
        *("manifest", "options", "sources"),
    },
    "security": {"conf", "types"},
    "known_files": {"access", "location", "security", "http", "types"},
    "explain": {"conf", "http"},
    "refusals": {"explain", "location", "sources", "http", "types"},
    "signals": set(),
    "statuses": {"access", "http", "refusals", "sources", "types"},
    "responder": {
        *("access", "http", "known_files", "location", "refusals", "sources", "statuses", "types"),
    },
    "handler": {
        *("delivery", "explain", "known_files", "refusals", "responder", "signals", "statuses"),
        *("access", "location", "security", "servers", "sources", "http", "types"),
    },
    "delivery": {"location", "servers", "signals", "sources", "http", "types"},
    "responses": {
        *("access", "delivery", "handler", "servers", "sources", "statuses", "http", "types"),
    },
    "tenants": {"conf", "handler", "http", "location", "sources"},
    "routing": {"access", "conf", "handler", "http", "tenants", "types"},
    "assembly": {"handler", "http", "location", "sources"},
    "middleware": {
        *("assembly", "routing", "tenants", "responses"),
        *("handler", "access", "conf", "location", "security", "servers", "sources"),
        *("http", "types"),
    },
    "check_messages": set(),
    "check_mistakes": {"check_messages", "conf", "conf_urls", "http"},
    "check_served": {"conf", "location"},
    "check_patterns": {"check_messages", "check_served", "conf"},
    "checks": {
        *("check_messages", "check_mistakes", "check_patterns", "check_served", "conf"),
        *("conf_urls", "http", "middleware", "sources", "storage"),
    },
    "apps": {"checks"},
    "management": {"middleware", "refusals", "signing"},
    "__init__": {"location", "middleware", "sources"},
}


def test_the_map_has_an_order() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a module imports, by their names below it."""
    package = path.relative_to(PACKAGE).parent.parts
    assert "import media_asgi" not in path.read_text(), "imports in the package are relative"
    assert "from media_asgi" not in path.read_text(), "imports in the package are relative"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            for module in modules:
                yield ".".join([*above, module])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_map_allows(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    rooms = {module.partition(".")[0] for module in imported(path)}
    assert rooms <= MAY_IMPORT[room] | {room}


def test_servers_know_of_sources_only_the_interface_and_descriptors() -> None:
    for path in (PACKAGE / "servers").glob("*.py"):
        known = {module for module in imported(path) if module.startswith("sources")}
        assert known <= {"sources.base", "sources.descriptor"}, path.name


def test_http_imports_nothing_that_reads_or_waits() -> None:
    for path in (PACKAGE / "http").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
                assert not names & {"asyncio", "socket", "time"}, f"{path.name}: {names}"
