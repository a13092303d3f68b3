"""
The threads in which a location waits for its disk.

Not ``ThreadPoolExecutor``, for three reasons. Its ``submit`` queues a call before it starts a
thread. If that fails, at a container's limit of processes, it raises, and the call runs later all
the same, on descriptors that were closed meanwhile. The interpreter joins its threads at its end,
so that a disk that hangs keeps the process from ending. And nothing bounds the time of waiting.
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

# The log has one line in this time for a disk that hangs. Seconds.
_NEWS = 60.0


class _Pool:
    """The state of the threads. They refer to it, and not to the ``Workers``, which may go."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.has_ended = False
        self.threads: list[threading.Thread] = []
        self._idle = 0
        # Its lock is one that a thread may take twice: the garbage collector may end the
        # ``Workers`` in a thread that holds it.
        self._ready = threading.Condition()
        # In order. A cancelled call is removed at once: while the disk hangs no thread takes it.
        self._calls: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()

    def submit(self, call: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()
        with self._ready:
            if self.has_ended:
                raise RuntimeError("the workers have ended")
            if self._idle <= len(self._calls) and len(self.threads) < self.limit:
                self._start()
            self._calls[future] = call
            self._ready.notify()
        future.add_done_callback(self._drop)
        return future

    def _start(self) -> None:
        """Start one more thread. Raises ``OSError`` if that fails and there is no other."""
        thread = threading.Thread(target=self._work, name="media-asgi", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            if not self.threads:
                # Not EAGAIN, which for a socket means that it is full.
                raise OSError(errno.ENOMEM, f"no thread to read the disk: {error}") from error
        else:
            self.threads.append(thread)

    def _drop(self, future: Future[Any]) -> None:
        if future.cancelled():
            with self._ready:
                self._calls.pop(future, None)

    def end(self, *, cancel: bool = False) -> None:
        with self._ready:
            self.has_ended = True
            dropped = list(self._calls) if cancel else []
            self._ready.notify_all()
        for future in dropped:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._ready:
                while not self._calls:
                    if self.has_ended:
                        return
                    self._idle += 1
                    self._ready.wait()
                    self._idle -= 1
                future, call = self._calls.popitem(last=False)
            _run(future, call)
            del future, call  # an idle thread refers to nothing


def _run(future: Future[R], call: Callable[[], R]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
        del future  # its exception refers to this frame: a cycle
    else:
        future.set_result(result)


class Workers(Executor):
    """Up to ``limit`` threads. A thread is started when it is needed.

    ``folder``: what they read, for the log. ``timeout``: seconds to wait for a call.
    """

    def __init__(self, limit: int, folder: str = "", timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._folder = folder
        self._pool = _Pool(limit)
        self._told: float | None = None

    def submit(self, call: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Queue a call. Raises ``OSError`` if no thread can be started: then it never runs."""
        return self._pool.submit(partial(call, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.end(cancel=cancel_futures)
        if wait:
            for thread in self._pool.threads:
                thread.join()

    def __del__(self) -> None:
        self._pool.end()

    def hung(self) -> SourceBusyError:
        """The error to raise after ``timeout``."""
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
        future = self._executor.submit(call, *args, **kwargs)
        self.hold()  # until here the hold of the task that submits it counts
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
    """Run ``call`` in a worker thread, in one hop. The descriptors stay open until it has ended.

    If the waiting task is cancelled, the call is dropped; if it has begun, it ends by itself.
    Raises ``SourceBusyError`` if it takes too long.
    """
    holding = _Holding(workers, descriptors)
    # The task submits the call in its first step. This hold counts until the task has ended.
    holding.hold()
    task = asyncio.ensure_future(_waited_for(workers, holding, call, *args))
    task.add_done_callback(holding.release)
    # No task may wait for it any more when it fails.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
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


async def opened(
    workers: Workers, discard: Callable[[R], object], call: Callable[..., R], *args: Any
) -> R:
    """Run ``call`` in a worker thread. What it opens after its task has left goes to ``discard``.

    Raises ``OSError`` if no thread can be started, and ``SourceBusyError`` if it takes too long.
    """
    limit = asyncio.timeout(workers.timeout)
    future = workers.submit(call, *args)
    try:
        async with limit:
            return await asyncio.wrap_future(future)
    except (asyncio.CancelledError, TimeoutError):
        future.add_done_callback(partial(_discard, discard))
        if limit.expired():
            raise workers.hung() from None
        raise
    finally:
        # The exception's traceback refers to this frame, and the frame to the future with the
        # exception. This cycle would keep what the call has open until it is collected.
        del future


def _discard(discard: Callable[[R], object], future: Future[R]) -> None:
    if not future.cancelled() and future.exception() is None:
        discard(future.result())
