"""The files that are served, and the requests that ask for them."""

import contextlib
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIB, MIB, GIB = 1024, 1024**2, 1024**3
SIZES = {
    "1KiB": KIB,
    "16KiB": 16 * KIB,
    "100KiB": 100 * KIB,
    "1MiB": MIB,
    "10MiB": 10 * MIB,
    "100MiB": 100 * MIB,
    "1GiB": GIB,
}

_YOUNG = 2.1  # seconds


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    title: str
    path: str
    length: int  # of the answer's body
    status: int = 200
    start: int = 0  # where in the file the body begins
    headers: tuple[tuple[str, str], ...] = ()
    conditional: bool = False  # asked with the validators of an earlier answer
    whole: bool = False  # one complete download a round instead of some seconds of load
    connections: tuple[int, ...] = (16,)

    @property
    def large(self) -> bool:
        """Told in bytes a second rather than requests a second."""
        return self.length >= MIB


def _url(name: str) -> str:
    return f"/media/{name}.jpg"


_RANGE = 5 * MIB, 5 * MIB + 100 * KIB

CASES = {
    case.name: case
    for case in (
        Case(
            name="1KiB",
            title="1 KiB",
            path=_url("1KiB"),
            length=KIB,
            connections=(1, 4, 16, 64, 256),
        ),
        Case(name="16KiB", title="16 KiB", path=_url("16KiB"), length=16 * KIB),
        Case(
            name="100KiB",
            title="100 KiB",
            path=_url("100KiB"),
            length=100 * KIB,
            connections=(16, 256),
        ),
        Case(name="1MiB", title="1 MiB", path=_url("1MiB"), length=MIB),
        Case(name="10MiB", title="10 MiB", path=_url("10MiB"), length=10 * MIB, connections=(1, 4)),
        Case(
            name="100MiB",
            title="100 MiB",
            path=_url("100MiB"),
            length=100 * MIB,
            connections=(4,),
        ),
        Case(
            name="1GiB",
            title="1 GiB, one download",
            path=_url("1GiB"),
            length=GIB,
            whole=True,
            connections=(1,),
        ),
        Case(
            name="304",
            title="304 Not Modified",
            path=_url("100KiB"),
            status=304,
            length=0,
            conditional=True,
        ),
        Case(
            name="206",
            title="206, 100 KiB in the middle of 10 MiB",
            path=_url("10MiB"),
            status=206,
            start=_RANGE[0],
            length=_RANGE[1] - _RANGE[0],
            headers=(("range", f"bytes={_RANGE[0]}-{_RANGE[1] - 1}"),),
        ),
        Case(name="404", title="404 Not Found", path=_url("missing"), status=404, length=0),
        Case(
            name="page", title="passed on to the application", path="/page/", length=len(b"a page")
        ),
    )
}


class Media:
    """A folder of files, made when first asked for, and gone at the end."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def need(self, name: str) -> Path:
        """The file of that size, e.g. `10MiB`, with random content."""
        path = self.root / f"{name}.jpg"
        if not path.exists():
            block = os.urandom(min(SIZES[name], MIB))
            with path.open("wb") as file:
                for _ in range(max(1, SIZES[name] // MIB)):
                    # A number in each block, so that no two of them are the same.
                    file.write(file.tell().to_bytes(8, "big") + block[8:])
                file.flush()
                os.fsync(file.fileno())  # or its write-back falls on the measurement
            # The package looks at a file anew for each request while it is so young. Hardly anybody
            # asks for such a file.
            time.sleep(_YOUNG)
        return path

    def sparse(self) -> str:
        """1 GiB that takes no room on the disk; its path below the root."""
        path = self.root / "sparse.jpg"
        with path.open("wb") as file:
            file.truncate(GIB)
        return path.name

    def content(self, case: Case) -> memoryview:
        """What the answer's body must be."""
        if case.name == "page":
            return memoryview(b"a page")
        if not case.length:
            return memoryview(b"")
        with (self.root / case.path.removeprefix("/media/")).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return memoryview(mapped)[case.start : case.start + case.length]

    def for_case(self, case: Case) -> None:
        name = case.path.removeprefix("/media/").removesuffix(".jpg")
        if name in SIZES:
            self.need(name)


@contextlib.contextmanager
def media() -> Iterator[Media]:
    root = Path(tempfile.mkdtemp(prefix="media-benchmark-"))
    root.chmod(0o755)  # nginx's worker is another user when its master is root
    try:
        yield Media(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
