"""The stores, each started once, and the servers that serve from them."""

from collections.abc import Iterator

import pytest

from .engines import ENGINES, Engine, running
from .support import QUICK, SLOW, Bucket, serving


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running("seaweedfs", tmp_path_factory.mktemp("seaweedfs")) as engine:
        yield engine


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(way, marks=[pytest.mark.xdist_group("objects"), *marks])
        for ways, marks in ((QUICK, []), (SLOW, [pytest.mark.slow]))
        for way in ways
    ],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bucket]:
    """A bucket behind a server, such as ``uvicorn-seaweedfs``."""
    server, name = request.param.split("-", 1)
    folder = tmp_path_factory.mktemp(request.param)
    if name == "seaweedfs":
        with serving(server, request.getfixturevalue("seaweedfs"), folder) as bucket:
            yield bucket
    else:
        with running(name, folder / "store") as engine, serving(server, engine, folder) as bucket:
            yield bucket


@pytest.fixture(scope="session", params=[pytest.param(n, marks=pytest.mark.slow) for n in ENGINES])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    if request.param == "seaweedfs":
        yield request.getfixturevalue("seaweedfs")
    else:
        with running(request.param, tmp_path_factory.mktemp(request.param)) as engine:
            yield engine
