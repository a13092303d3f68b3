import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from media_asgi.sources.base import (
    WHOLE,
    FileForbiddenError,
    FileMissingError,
    SourceBusyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from media_asgi.sources.first import FirstSource


class Answering:
    """A source that has an answer, or an error, for each name."""

    def __init__(self, answer: Any, *, waits: bool = False) -> None:
        self.answer = answer
        self.waits = waits

    def version_nowait(self, name: bytes) -> Any:
        return None

    def open_nowait(self, name: bytes, wanted: Any) -> Any:
        if self.waits:
            return None
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def open(self, name: bytes, wanted: Any) -> Any:
        self.waits = False
        return self.open_nowait(name, wanted)


MISSING = FileMissingError("a link leads out")


@pytest.mark.parametrize("waits", [True, False])
def test_the_first_source_that_has_the_file_serves_it(waits: bool) -> None:
    for answers, expected in (
        (["a", "b"], "a"),
        ([FileMissingError(), "b"], "b"),
        ([FileMissingError(), MISSING, "c"], "c"),
    ):
        source = FirstSource([Answering(answer, waits=waits) for answer in answers])
        if not waits:
            found: Any = source.open_nowait(b"x", WHOLE)
            assert found == expected
        opened: Any = asyncio.run(source.open(b"x", WHOLE))
        assert opened == expected


def test_a_source_that_waits_is_waited_for() -> None:
    source = FirstSource([Answering(FileMissingError()), Answering("b", waits=True)])
    assert source.open_nowait(b"x", WHOLE) is None
    source = FirstSource([Answering("a", waits=True), Answering("b")])
    assert source.open_nowait(b"x", WHOLE) is None


@pytest.mark.parametrize(
    "error",
    [
        FileForbiddenError(),
        SourceBusyError("busy"),
        SourceUnreachableError(),
        SourceTimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_failure_is_the_answer(error: SourceError) -> None:
    source = FirstSource([Answering(error), Answering("old")])
    calls: list[Callable[[], Any]] = [
        lambda: source.open_nowait(b"x", WHOLE),
        lambda: asyncio.run(source.open(b"x", WHOLE)),
    ]
    for call in calls:
        with pytest.raises(SourceError) as raised:
            call()
        assert raised.value is error


def test_missing_everywhere_keeps_the_reason_for_the_log() -> None:
    source = FirstSource([Answering(FileMissingError()), Answering(MISSING), Answering(MISSING)])
    with pytest.raises(FileMissingError) as raised:
        source.open_nowait(b"x", WHOLE)
    assert raised.value.reason == "a link leads out"
