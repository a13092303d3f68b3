from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import UserSettingsHolder, settings

from ..fuzz.target import Target


@contextmanager
def _secret_key() -> Iterator[None]:
    """override_settings() can't go back to having none."""
    before = settings._wrapped
    settings._wrapped = UserSettingsHolder(before)
    settings._wrapped.SECRET_KEY = "a test's"
    try:
        yield
    finally:
        settings._wrapped = before


@pytest.fixture(scope="module", params=["openat2", "portable"])
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    with (
        _secret_key(),
        Target(tmp_path_factory.mktemp("target"), portable=request.param == "portable") as target,
    ):
        yield target
