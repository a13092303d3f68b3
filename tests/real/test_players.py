"""Playlists of a folder with a signed link, as a browser plays them."""

import contextlib
import json
import os
import random
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from media_asgi import signing
from media_asgi.signing import sign_prefix

from ..support.programs import program
from ..support.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

PLAYED = """() => new Promise((resolve, reject) => {
    const video = document.querySelector('video');
    const check = () => video.currentTime > 1.5 && resolve([video.videoWidth, video.currentTime]);
    video.ontimeupdate = check;
    video.onerror = () => reject(video.error.message);
    video.muted = true;
    video.play().then(check, reject);
})"""


def encode(path: Path, kind: str, options: dict[str, str]) -> None:
    """Two seconds of noise in several segments."""
    path.parent.mkdir(parents=True)
    source = random.Random(1)
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "10", "profile": "baseline"}
        for _ in range(60):
            image = Image.frombytes("RGB", (160, 120), source.randbytes(160 * 120 * 3))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    encode(root / "private/hls/index.m3u8", "hls", {"hls_time": "0.5", "hls_list_size": "0"})
    encode(root / "private/dash/index.mpd", "dash", {"seg_duration": "0.5"})
    player = next(one for one in files("js.videojs") or () if one.name == "video.min.js")
    (root / "public").mkdir()
    (root / "public/player.js").write_bytes(Path(os.fspath(player.locate())).read_bytes())
    return root


@pytest.fixture(scope="module")
def origin(root: Path) -> Iterator[str]:
    locations = [
        {"url": "/private/", "root": str(root / "private"), "access": "signed"},
        {"url": "/media/", "root": str(root / "public")},
    ]
    env = {"LOCATIONS": json.dumps(locations)}
    with Server("daphne", "tests.security.sites:application", env=env) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        browser = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"],
        )
        stack.callback(browser.close)
        yield browser.pages[0]


@pytest.mark.parametrize(
    ("folder", "name", "player"),
    [
        ("hls", "index.m3u8", "chromium"),
        ("hls", "index.m3u8", "video.js"),
        ("dash", "index.mpd", "video.js"),
    ],
)
def test_a_private_playlist_plays(
    folder: str,
    name: str,
    player: str,
    origin: str,
    page: Page,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")
    monkeypatch.setattr(signing, "location_prefixes", {})  # other tests' locations
    folder_url = sign_prefix(f"/private/{folder}/")
    url = folder_url + name
    statuses: dict[str, int] = {}
    page.on("response", lambda response: statuses.update({response.url: response.status}))
    if player == "chromium":
        html = f'<video src="{url}"></video>'
    else:
        type_ = {"hls": "application/x-mpegURL", "dash": "application/dash+xml"}[folder]
        html = (
            f'<video class="video-js"><source src="{url}" type="{type_}"></video>'
            '<script src="/media/player.js"></script>'
            "<script>videojs(document.querySelector('video'),"
            "{html5: {hls: {overrideNative: true}}})</script>"
        )
    page.goto(f"{origin}/page?{quote(html)}")
    width, time = page.evaluate(PLAYED)
    assert width == 160
    assert time > 1.5
    parts = {url: status for url, status in statuses.items() if url.startswith(origin + folder_url)}
    assert len(parts) > 3
    assert {*parts.values()} <= {200, 206}
    # And none of it opens without the signature.
    for part in parts:
        bare = part.replace(folder_url, f"/private/{folder}/")
        answer = page.request.get(bare)
        assert (bare, answer.status) == (bare, 403)
