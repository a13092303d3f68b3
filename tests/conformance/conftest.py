"""The servers that the conformance tests run on, each started once."""

from collections.abc import Iterator

import pytest

from .support import QUICK, WAYS, Media, grouped, running


@pytest.fixture(
    scope="session",
    params=[*grouped([*QUICK, "portable"]), *grouped(WAYS, pytest.mark.slow)],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Media]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as media:
        yield media
