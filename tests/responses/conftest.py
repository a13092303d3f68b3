"""The sites that these tests run on, each started once."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..support.site import Site
from .support import serve


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    sites: dict[str, Site] = {}

    def site(server: str, stack: str = "async", **env: Any) -> Site:
        key = json.dumps([server, stack, env])
        if key not in sites:
            sites[key] = serve(server, tmp_path_factory.mktemp("files"), stack, **env)
        return sites[key]

    yield site
    for one in sites.values():
        one.server.__exit__()


@pytest.fixture(params=["daphne", pytest.param("uvicorn", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(server: str, start: Callable[..., Site]) -> Site:
    return start(server)
