import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest

from .support import WatchedSite, serve

# A shell that runs the tests in the background makes them, and so their servers, ignore it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], WatchedSite]]:
    """Starts each kind of server once, and again where a test has ended it."""
    sites: dict[str, WatchedSite] = {}
    with contextlib.ExitStack() as stack:

        def site(kind: str) -> WatchedSite:
            if kind not in sites or not sites[kind].server.alive():
                root = tmp_path_factory.mktemp(kind)
                sites[kind] = stack.enter_context(serve(kind, root))
            return sites[kind]

        yield site


@pytest.fixture
def site(request: pytest.FixtureRequest, start: Callable[[str], WatchedSite]) -> WatchedSite:
    return start(request.param)
