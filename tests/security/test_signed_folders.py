"""A link for a folder opens what is in the folder, and nothing else: on real servers."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from django.conf import settings

from media_asgi import signing
from media_asgi.signing import sign_prefix, sign_url

from ..support.client import Connection, Response
from ..support.servers import Server

FILES = [
    "private/hls/42/index.m3u8",
    "private/hls/42/low/1.ts",
    "private/hls/43/index.m3u8",
    "private/hls/42.txt",
    "private/other.txt",
    "private/more/deep.txt",  # hidden by the location of the same URL
    "more/deep.txt",
    "other/hls/42/index.m3u8",
]


class Site:
    def __init__(self, server: Server) -> None:
        self.server = server

    def get(self, target: str, method: str = "GET") -> Response:
        with Connection(self.server) as client:
            return client.get(target, method=method)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("daphne", marks=pytest.mark.xdist_group("folders-daphne")),
        pytest.param(
            "uvicorn", marks=[pytest.mark.xdist_group("folders-uvicorn"), pytest.mark.slow]
        ),
    ],
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("data")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    locations = [
        {"url": url, "root": str(root / folder), "access": "signed", "leeway": leeway}
        for url, folder, leeway in (
            ("/private/", "private", 0),
            ("/private/more/", "more", 0),
            ("/other/", "other", 10**6),
        )
    ]
    env = {"LOCATIONS": json.dumps(locations)}
    with Server(request.param, "tests.security.sites:application", env=env) as server:
        yield Site(server)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")
    monkeypatch.setattr(signing, "location_prefixes", {})  # other tests' locations


def test_a_link_for_a_folder_opens_all_that_is_in_it(site: Site) -> None:
    url = sign_prefix("/private/hls/42/")
    for name in ("index.m3u8", "low/1.ts"):
        for _ in range(3):  # the later ones from memory
            answer = site.get(url + name)
            assert (answer.status, answer.body.decode()) == (200, f"private/hls/42/{name}")
            assert re.fullmatch(r"private, max-age=3[56]\d\d", answer["cache-control"])
            assert answer["referrer-policy"] == "no-referrer"
        assert site.get(url + name, "HEAD").status == 200
        assert site.get(f"{url}{name}?part=1").status == 200
    assert site.get(url + "none.ts").status == 404
    assert site.get(url).status == 404
    escaped = "".join(f"%{byte:02X}" for byte in url.encode())
    assert site.get(f"/{escaped[3:]}index.m3u8").status == 200
    whole = sign_prefix("/private/")
    assert site.get(whole + "hls/43/index.m3u8").status == 200


def test_a_link_for_a_folder_opens_nothing_beside_it(site: Site) -> None:
    url = sign_prefix("/private/hls/42/")
    token = url.removeprefix("/private/hls/42/").rstrip("/")
    for target in (
        f"/private/hls/43/{token}/index.m3u8",
        f"/private/hls/{token}/42/index.m3u8",
        f"/private/hls/{token}/43/index.m3u8",
        f"/private/{token}/hls/42/index.m3u8",
        f"/{token}/private/hls/42/index.m3u8",
        f"/private/hls/42/low/{token}/1.ts",
        f"/private/hls/42/{token}",
        f"/private//hls/42/{token}/index.m3u8",
        f"//private/hls/42/{token}/index.m3u8",
        f"/private/hls//42/{token}/index.m3u8",
        f"/other/hls/42/{token}/index.m3u8",
        f"/private/hls/42/index.m3u8/{token}/",
        f"/private/hls/42/x/..%2F{token}/index.m3u8",
        f"/private/hls/43/..%2F42/{token}/index.m3u8",
        f"/private/hls/43/%2e%2e/42/{token}/index.m3u8",
        f"/private/HLS/42/{token}/index.m3u8",
        f"/private/hls/42%00/{token}/index.m3u8",
        f"/private/hls/43/index.m3u8?{token}",
        "/private/hls/42/index.m3u8",
    ):
        answer = site.get(target)
        assert answer.status in (403, 404) or answer.body == b"the application", target
    for rest in (
        "../43/index.m3u8",
        "..%2F43/index.m3u8",
        "%2e%2e/43/index.m3u8",
        "%2e%2e%2f%2e%2e%2fother.txt",
        "low/../../43/index.m3u8",
        "..%5C43%5Cindex.m3u8",
        "./index.m3u8",
        "low//1.ts/",
        f"{token}/index.m3u8",
        f"{token}/../../43/index.m3u8",
        f"..%2F43/{token}/index.m3u8",
        "%00/index.m3u8",
        "/etc/passwd",
    ):
        assert (rest, site.get(url + rest).status) == (rest, 404)


def test_a_signed_folder_is_not_one_of_the_location_below(site: Site) -> None:
    url = sign_prefix("/private/")
    token = url.removeprefix("/private/")
    assert site.get(url + "more/deep.txt").status == 404
    assert site.get(url + "/more/deep.txt").status == 404
    assert site.get(f"/private/more/{token}deep.txt").status == 403
    own = sign_prefix("/private/more/")
    assert site.get(own + "deep.txt").body == b"more/deep.txt"


def test_no_kind_of_signature_passes_for_another(site: Site) -> None:
    folder = sign_prefix("/private/hls/42/")
    expires, signature = re.search(r"media-prefix-(\d+)-(.+)/", folder).groups()  # type: ignore[union-attr]
    for path in ("/private/hls/42/", "/private/hls/42/index.m3u8"):
        query = f"media-expires={expires}&media-signature={signature}"
        assert site.get(f"{path}?{query}").status == 403
        link = sign_url(path)
        expires_, signature_ = re.search(r"expires=(\d+)&media-signature=(.+)", link).groups()  # type: ignore[union-attr]
        as_folder = f"/private/hls/42/media-prefix-{expires_}-{signature_}/"
        for rest in ("", "index.m3u8", "index.m3u8?" + link.partition("?")[2]):
            assert site.get(as_folder + rest).status == 403


def test_any_changed_character_of_a_folders_signature_is_refused(site: Site) -> None:
    url = sign_prefix("/private/hls/42/")
    start, expires, signature = re.fullmatch(r"(.+/)media-prefix-(\d+)-(.+)/", url).groups()  # type: ignore[union-attr]
    for changed in (
        f"{int(expires) + 1}-{signature}",
        f"0{expires}-{signature}",
        f"{expires}-{signature[:-1]}",
        f"{expires}-{signature[:-1]}{'A' if signature[-1] != 'A' else 'B'}",
        f"{expires}-{signature.swapcase()}",
        f"{expires}-{'A' * 43}",
        f"{expires}-",
        f"-{signature}",
    ):
        assert site.get(f"{start}media-prefix-{changed}/index.m3u8").status == 403


def test_a_link_for_a_folder_ends(site: Site) -> None:
    ended = sign_prefix("/private/hls/42/", now=1_700_000_000)
    assert site.get(ended + "index.m3u8").status == 403
    # This location gives links a leeway.
    late = sign_prefix("/other/hls/42/", expires_in=1, now=time.time() - 1000)
    assert site.get(late + "index.m3u8").status == 200
