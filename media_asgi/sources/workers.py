"""
The threads in which one location waits for its disk, and the descriptors that their calls work on.

Not ``ThreadPoolExecutor``, for three reasons. Its ``submit`` queues a call before it starts a
thread: where that fails (a container's limit of processes) it raises, and the call runs later all
the same, on descriptors that were closed meanwhile. The interpreter joins its threads when it ends,
so that a disk that hangs keeps a process from ending. And nothing bounds how long one waits for it.
"""

import asyncio
import errno
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

import aiofiles.os

from .base import SourceBusyError
from .descriptor import Descriptor

R = TypeVar("R")

# A disk that hangs is one line in the log in so long. Seconds.
_NEWS = 60.0


class _Pool:
    """What the threads of ``Workers`` know. They don't keep the ``Workers`` alive."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.has_ended = False
        self.threads: list[threading.Thread] = []
        self._idle = 0
        # Whoever holds it may be interrupted by the end of the ``Workers``, which is collected.
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)
        # In their order. A call that is cancelled goes at once: while the disk hangs nobody takes
        # it from here.
        self._calls: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            if self.has_ended:
                raise RuntimeError("the workers have ended")
            if self._idle <= len(self._calls) and len(self.threads) < self.limit:
                self._start()
            self._calls[future] = call
            self._ready.notify()
        future.add_done_callback(self._drop)
        return future

    def _start(self) -> None:
        """One thread more. Where that can't be, the others do; without any, nothing is queued."""
        thread = threading.Thread(target=self._work, name="media-asgi", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if not self.threads:
                # Not EAGAIN, which of a socket says that it is full.
                raise OSError(errno.ENOMEM, f"no thread to read the disk: {error}") from error
        else:
            self.threads.append(thread)

    def _drop(self, future: Future[Any]) -> None:
        if future.cancelled():
            with self._lock:
                self._calls.pop(future, None)

    def end(self, *, cancel: bool = False) -> None:
        with self._lock:
            self.has_ended = True
            dropped = list(self._calls) if cancel else []
            self._ready.notify_all()
        for future in dropped:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._calls:
                    if self.has_ended:
                        return
                    self._idle += 1
                    self._ready.wait()
                    self._idle -= 1
                future, call = self._calls.popitem(last=False)
            _run(future, call)
            del future, call  # nothing is held while there is nothing to do


def _run(future: Future[R], call: Callable[[], R]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
        del future  # whose exception holds this frame: a cycle
    else:
        future.set_result(result)


class Workers(Executor):
    """Up to ``limit`` threads, started when they are needed.

    ``folder``: what they read, for the log. ``timeout``: seconds to wait for one of their calls.
    """

    def __init__(self, limit: int, folder: str = "", timeout: float = 30.0) -> None:
        self.limit = limit
        self.timeout = timeout
        self._folder = folder
        self._pool = _Pool(limit)
        self._told: float | None = None

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Queue a call. Raises ``OSError`` where no thread can be started: then it never runs."""
        return self._pool.submit(partial(call, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.end(cancel=cancel_futures)
        if wait:
            for thread in self._pool.threads:
                thread.join()

    def __del__(self) -> None:
        self._pool.end()

    def hung(self) -> SourceBusyError:
        """What to raise when the time is over."""
        now = time.monotonic()
        is_news = self._told is None or now - self._told >= _NEWS
        if is_news:
            self._told = now
        text = f"the disk of {self._folder} has not answered for {self.timeout:g} s"
        return SourceBusyError(text, is_news=is_news)


class _Holding(Executor):
    """An executor whose calls hold descriptors until they have ended or were dropped."""

    def __init__(self, executor: Executor, descriptors: Sequence[Descriptor]) -> None:
        self._executor = executor
        self._descriptors = descriptors

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        self.hold()
        try:
            future = self._executor.submit(call, *args, **kwargs)
        except BaseException:
            self.release()
            raise
        future.add_done_callback(self.release)
        return future

    def hold(self) -> None:
        for descriptor in self._descriptors:
            descriptor.hold()

    def release(self, _: object = None) -> None:
        for descriptor in self._descriptors:
            descriptor.close()


def in_worker(
    workers: Workers, descriptors: Sequence[Descriptor], call: Callable[..., R], *args: Any
) -> "asyncio.Task[R]":
    """``call`` in a worker thread, in one hop, with these descriptors held open until it has ended.

    Whoever waits may be cancelled: the call is dropped, or ends by itself where it has begun.
    Raises ``SourceBusyError`` if it takes too long.
    """
    holding = _Holding(workers, descriptors)
    # The task that submits the call takes its first step later: until then it is held from here.
    holding.hold()
    task = asyncio.ensure_future(_waited_for(workers, holding, call, *args))
    task.add_done_callback(holding.release)
    task.add_done_callback(_retrieved)
    return task


async def _waited_for(
    workers: Workers, executor: Executor, call: Callable[..., R], *args: Any
) -> R:
    try:
        async with asyncio.timeout(workers.timeout) as limit:
            return await aiofiles.os.wrap(call)(*args, executor=executor)
    except TimeoutError:
        if limit.expired():
            raise workers.hung() from None
        raise


def _retrieved(call: "asyncio.Future[Any]") -> None:
    """What a call that nobody waits for any more has ended with is of no interest."""
    if not call.cancelled():
        call.exception()
