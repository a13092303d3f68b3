import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from media_asgi import Location, MediaMiddleware
from media_asgi.sources import local_file

from .support import LARGE, Failing, Inner, age

# More of them find more: EXAMPLES=10000 takes some minutes.
EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
hypothesis.register_profile(
    "unit",
    deadline=None,  # a busy machine is slow, and no example is to blame
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=False,  # Hypothesis would have the same examples each time where CI is set
    max_examples=EXAMPLES,
)
hypothesis.load_profile("unit")


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "folder").mkdir(parents=True)
    (root / ".git").mkdir()
    (tmp_path / "media-secret").mkdir()
    for path, content in {
        "media/a.txt": b"hello",
        "media/folder/b.html": b"<script>",
        "media/none.bin": b"",
        "media/large.bin": LARGE,
        "media/.hidden": b"hidden",
        "media/.git/config": b"config",
        "media-secret/x.txt": b"SECRET",
    }.items():
        (tmp_path / path).write_bytes(content)
    age(root, 60)
    return root


@pytest.fixture
def serve(media: Path, inner: Inner) -> Callable[..., MediaMiddleware]:
    def make(chunk_size: int = 1024, threads: int = 2, **options: Any) -> MediaMiddleware:
        given: dict[str, Any] = {"url": "/media/", "root": media} | options
        location = Location(**given)
        return MediaMiddleware(inner, location, chunk_size=chunk_size, threads=threads)

    return make


@pytest.fixture(params=["cached", "would wait", "no RWF_NOWAIT"])
def cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the page cache has what is read, as far as the package can tell."""
    if request.param != "cached" and hasattr(os, "preadv"):
        error = errno.EAGAIN if request.param == "would wait" else errno.EOPNOTSUPP
        monkeypatch.setattr(local_file, "_refusing_nowait", set())
        monkeypatch.setattr(os, "preadv", Failing(error))
    name: str = request.param
    return name
