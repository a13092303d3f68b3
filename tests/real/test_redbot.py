"""REDbot, which knows HTTP by heart, looks at each kind of answer."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from ..support.client import Connection
from ..support.servers import ROOT, Server, media

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("redbot")]

Headers = Sequence[tuple[str, str]]


class Case(NamedTuple):
    status: int
    target: str
    headers: Headers = ()
    method: str = "GET"
    mistaken: frozenset[str] = frozenset()
    """Faults that it finds where there are none."""


# It takes 'unsafe-inline' in style-src for inline scripts; default-src 'none' forbids those.
STYLES = frozenset({"CSP_UNSAFE_INLINE"})
# It does not know multipart/byteranges, whose parts have the Content-Range (RFC 9110 15.3.7.2
# forbids it in the head).
MULTIPART = frozenset({"PARTIAL_WITHOUT_RANGE"})

CASES = {
    "text": Case(200, "/media/a.txt"),
    "picture": Case(200, "/media/a.png"),
    "binary": Case(200, "/media/a.bin"),
    "html": Case(200, "/media/a.html", mistaken=STYLES),
    "empty": Case(200, "/media/empty.txt"),
    "head": Case(200, "/media/a.bin", method="HEAD"),
    "an hour": Case(200, "/hour/a.txt"),
    "immutable": Case(200, "/immutable/a.txt"),
    "any origin": Case(200, "/cors/a.txt", [("Origin", "https://app.example.com")]),
    "an origin": Case(200, "/listed/a.txt", [("Origin", "https://app.example.com")]),
    "no origin": Case(200, "/listed/a.txt"),
    "range": Case(206, "/media/a.bin", [("Range", "bytes=10-19")]),
    "suffix": Case(206, "/media/a.txt", [("Range", "bytes=-10")]),
    "ranges": Case(206, "/media/a.bin", [("Range", "bytes=0-9,1000-1999")], mistaken=MULTIPART),
    "unmodified by ETag": Case(304, "/media/a.txt", [("If-None-Match", "{etag}")]),
    "unmodified by date": Case(304, "/media/a.txt", [("If-Modified-Since", "{last-modified}")]),
    "HEAD unmodified": Case(304, "/media/a.txt", [("If-None-Match", "{etag}")], "HEAD"),
    "missing": Case(404, "/media/missing.txt"),
    "folder": Case(404, "/media/"),
    "dotfile": Case(404, "/media/.env"),
    "method": Case(405, "/media/a.txt", method="POST"),
    "precondition": Case(412, "/media/a.txt", [("If-Match", '"other"')]),
    "unsatisfiable": Case(416, "/media/a.txt", [("Range", "bytes=9999999-")]),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(picture, "png")
    files = {
        "a.txt": b"A line of text.\n" * 400,
        "a.html": b"<!doctype html><title>A page</title>" + b"<p>A line.</p>\n" * 400,
        "a.png": picture.getvalue(),
        "a.bin": bytes(range(256)) * 4000,
        "empty.txt": b"",
        ".env": b"SECRET",
    }
    day = time.time() - 86400
    for name, data in files.items():
        (root / name).write_bytes(data)
        os.utime(root / name, (day, day))
    return root


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def told(request: pytest.FixtureRequest, root: Path) -> dict[str, Any]:
    """What REDbot says of each case, all asked of one server at once."""
    environment = media(
        {"url": "/media/", "root": root},
        {"url": "/hour/", "root": root, "cache_control": "max-age=3600"},
        {"url": "/immutable/", "root": root, "immutable": "."},
        {"url": "/cors/", "root": root, "cors": "*"},
        {"url": "/listed/", "root": root, "cors": ["https://app.example.com"]},
    )
    with Server(request.param, env=environment) as server:
        with Connection(server) as connection:
            text = connection.get("/media/a.txt")
        known = {"etag": text["etag"], "last-modified": text["last-modified"]}
        asked = [
            (
                case.method,
                f"http://127.0.0.1:{server.port}{case.target}",
                [(name, value.format_map(known)) for name, value in case.headers],
            )
            for case in CASES.values()
        ]
        done = subprocess.run(
            [sys.executable, "-m", "tests.real.redbot_notes"],
            cwd=ROOT,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_fault(name: str, told: dict[str, Any]) -> None:
    case, answer = CASES[name], told[name]
    assert answer["failed"] is None
    assert answer["status"] == case.status
    levels = {note[0] for note in answer["notes"]}
    assert "good" in levels, "it has looked at nothing"
    faults = [note for note in answer["notes"] if note[0] not in ("good", "info")]
    assert {note[1] for note in faults} == case.mistaken, faults


@pytest.mark.parametrize("name", ["text", "picture", "binary", "html", "an hour", "immutable"])
def test_ranges_and_validators_work_by_its_own_trial(name: str, told: dict[str, Any]) -> None:
    assert told[name]["supports"] == [True, True, True]
