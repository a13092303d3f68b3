# ruff: noqa: ASYNC110 - nobody else waits
"""
Processes that share a disk cache and are killed at random, for test_disk_cache_kill.py.

The objects are large enough for the small folder to be filled and evicted without end, and they are
replaced all the time. Each byte that is served is compared. A line for each fault is printed, and
then how often the disk was read.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

from django.conf import settings

settings.configure()

from media_asgi.sources.base import WHOLE, SourceError  # noqa: E402
from media_asgi.sources.cache_folder import NAME  # noqa: E402
from media_asgi.sources.disk_cache import DiskCache, DiskCacheSource  # noqa: E402
from media_asgi.sources.local_file import LocalFile  # noqa: E402
from media_asgi.sources.workers import Workers  # noqa: E402
from tests.unit.sources.store import Object, Store  # noqa: E402

PROCESSES = 3
OBJECTS = 24
MAX_SIZE = 1_000_000
FRESH = 0.02

# A version of all objects lasts so long. Seconds.
VERSION = 0.2


def content(name: bytes, version: int) -> bytes:
    chosen = random.Random(name + b"%d" % version)
    return chosen.randbytes(97) * chosen.randrange(1, 1500)


class Replaced(dict[bytes, Object]):
    """The objects as they are now."""

    def get(self, name: bytes, default: object = None) -> Object:
        return self[name]

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: bytes) -> Object:
        # Half of the objects stay as they are.
        version = int(time.time() / VERSION) if name[-1] % 2 else 0
        return Object(content(name, version), b'"%d"' % version, modified=version)


class Client:
    def __init__(self, folder: Path, faults: int) -> None:
        store = Store()
        store.objects = Replaced()
        options = DiskCache(folder, max_size=MAX_SIZE, fresh=FRESH)
        self.cache = DiskCacheSource(store, options, Workers(4, str(folder)))
        self.faults = faults

    async def run(self, until: float) -> None:
        while time.time() < until:
            name = b"object %d" % random.randrange(OBJECTS)
            with contextlib.suppress(SourceError):  # replaced while it is read from the store
                await self.get(name)

    async def get(self, name: bytes) -> None:
        asked = time.time()
        file = self.cache.open_nowait(name, WHOLE) or await self.cache.open(name, WHOLE)
        try:
            chunks = file.stream(0, file.info.size, lambda: 16384)
            got = b"".join([chunk async for chunk in chunks])
        finally:
            file.close()
        assert file.info.etag is not None
        version = int(file.info.etag.strip(b'"'))
        if got != content(name, version) or file.info.modified != version:
            self.tell(f"wrong bytes of {name!r}, version {version}, from {file}")
        if version and (version + 1) * VERSION + FRESH < asked:
            self.tell(f"{name!r} of version {version} is too old by {asked}")
        if isinstance(file, LocalFile):
            os.write(self.faults, b"hit\n")

    def tell(self, fault: str) -> None:
        os.write(self.faults, f"{fault}\n".encode())


def serve(folder: Path, faults: int, until: float) -> None:
    async def main() -> None:
        client = Client(folder, faults)
        await asyncio.gather(*(client.run(until) for _ in range(8)))
        while client.cache._fills:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{number}")
                if path.startswith(f"{folder}/"):
                    client.tell(f"{path} is left open")

    random.seed()
    asyncio.run(main())
    os._exit(0)


def size(folder: Path) -> int:
    total = 0
    for entry in folder.iterdir() if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):
            total += entry.stat().st_size
    return total


def stopped_size(folder: Path, pids: list[int]) -> int:
    """With all processes stopped: a file that is renamed meanwhile would count twice."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
    try:
        return size(folder)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def start(folder: Path, faults: int, until: float) -> int:
    if (pid := os.fork()) == 0:
        serve(folder, faults, until)
    return pid


def main(folder: Path, kills: int) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    told = b""
    seconds = kills * 0.2 + 60
    pids = [start(folder, write, time.time() + seconds) for _ in range(PROCESSES)]
    largest = leftovers = 0
    for _ in range(kills):
        time.sleep(random.uniform(0.02, 0.25))
        number = random.randrange(PROCESSES)
        os.kill(pids[number], signal.SIGKILL)
        os.waitpid(pids[number], 0)
        largest = max(largest, stopped_size(folder, [pid for pid in pids if pid != pids[number]]))
        leftovers += sum(path.suffix in (".part", ".new") for path in folder.iterdir())
        pids[number] = start(folder, write, time.time() + seconds)
        with contextlib.suppress(BlockingIOError):
            told += os.read(read, 1 << 20)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.waitpid(start(folder, write, time.time() + 3), 0)
    with contextlib.suppress(BlockingIOError):
        while True:
            told += os.read(read, 1 << 20)
    lines = told.decode().splitlines()
    for line in lines:
        if line != "hit":
            print(line)
    names = [path.name for path in folder.iterdir()]
    matches = [match for name in names if (match := NAME.fullmatch(name))]
    if any(match[2] in ("part", "new") for match in matches):
        print("left in the folder:", sorted(names))
    described = {match[1] for match in matches if match[2] is None}
    if {match[1] for match in matches} - described:
        print("kept without a description:", sorted(names))
    if largest > MAX_SIZE:
        print(f"{largest} bytes in the folder")
    print("hits", lines.count("hit"), "largest", largest, "found half done", leftovers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
