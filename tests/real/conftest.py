import contextlib
from collections.abc import Callable, Iterator

import pytest

from ..test_site import Browser, Site


@pytest.fixture
def visit() -> Iterator[Callable[[Site], Browser]]:
    """Opens a browser without a cookie, until the test ends."""
    with contextlib.ExitStack() as stack:

        def open_browser(site: Site) -> Browser:
            browser = Browser(site)
            stack.callback(browser.connection.close)
            return browser

        yield open_browser
