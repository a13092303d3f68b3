import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.servers import ROOT
from ..support.site import Site
from .support import serve


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's data, made once for all workers of the test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    data, half = shared / "private", shared / "half private"
    with open(shared / "preparing private", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not data.exists():
            half.mkdir()
            subprocess.run(
                [sys.executable, "-m", "tests.private.project.prepare"],
                cwd=ROOT,
                env={**os.environ, "PRIVATE_DATA": str(half), "PYTHONPATH": str(ROOT)},
                check=True,
            )
            half.rename(data)
    return data


@pytest.fixture(scope="session")
def start(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Site]]:
    """Starts each kind of server once."""
    sites: dict[str, Site] = {}
    with contextlib.ExitStack() as stack:

        def site(kind: str) -> Site:
            if kind not in sites:
                data = tmp_path_factory.mktemp(kind) / "data"
                sites[kind] = stack.enter_context(serve(kind, prepared, data))
            return sites[kind]

        yield site


@pytest.fixture
def site(request: pytest.FixtureRequest, start: Callable[[str], Site]) -> Site:
    return start(request.param)
