"""What these tests share: the site's files, its stacks of middleware, and what it has counted."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..support.servers import Server
from ..support.site import Site

OURS = "media_asgi.responses.FileResponseMiddleware"
SYNC = "tests.apps.responses.sync_only"
LETTERS = random.Random(4).randbytes(50_000)
LARGE = random.Random(5).randbytes(3_000_000)
FILES = {"letters.bin": LETTERS, "large.bin": LARGE, "empty.bin": b"", "text.txt": b"Text" * 500}
GIB = 1 << 30

STACKS = {
    "async": [OURS],
    "sync": [SYNC, OURS],
    "sync-below": [OURS, SYNC],
    "conditional": [OURS, "django.middleware.http.ConditionalGetMiddleware"],
    "gzip": [OURS, "django.middleware.gzip.GZipMiddleware"],
    "gzip-outside": ["django.middleware.gzip.GZipMiddleware", OURS],
    "replaced": ["tests.apps.responses.replacing", OURS],
    "without": [],
}


def serve(server: str, root: Path, stack: str = "async", *, tls: bool = False, **env: Any) -> Site:
    for name, data in FILES.items():
        (root / name).write_bytes(data)
        hour_ago = time.time() - 3600
        os.utime(root / name, (hour_ago, hour_ago))
    env = {"FILES_ROOT": str(root), "FILES_MIDDLEWARE": json.dumps(STACKS[stack]), **env}
    application = "tests.apps.responses:application"
    return Site(Server(server, application, env=env, tls=tls), root, kind=server)


def counted(site: Site, name: str) -> Callable[[int], bool]:
    """Has this happened so many times since now? The site forgets what it has told."""
    site.ask("/told")
    so_far: int = 0

    def is_reached(count: int) -> bool:
        nonlocal so_far
        so_far += site.ask("/told").get(name, 0)
        return so_far >= count

    return is_reached
