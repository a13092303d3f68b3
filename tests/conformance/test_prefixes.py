"""Prefixes that a proxy or Django's settings add."""

import json
from pathlib import Path

import pytest

from ..support.servers import Server
from .support import SECRET, Media, grouped, made, soon


@pytest.mark.parametrize(
    "name",
    [*grouped(["daphne", "uvicorn"]), *grouped(["hypercorn", "granian"], pytest.mark.slow)],
)
def test_locations_are_beneath_the_servers_root_path(name: str, tmp_path: Path) -> None:
    with Server(name, env=made(tmp_path), root_path="/behind/proxy") as server:
        served = Media(server, tmp_path)
        url = served.put("a.txt", b"stripped or not")
        (tmp_path / "secret.txt").write_bytes(SECRET)
        assert served.get(url).body == b"stripped or not"
        assert served.status("/media/missing") == 404
        if name != "uvicorn":
            # Uvicorn puts the root path before every path itself: behind a proxy that doesn't strip
            # it, Django's URLs don't match either.
            assert served.get("/behind/proxy" + url).body == b"stripped or not"
            assert served.status("/behind/proxy/media/../secret.txt") == 404
        assert served.passed_on("/behind/proxyx" + url)
        assert served.passed_on("/other")["root_path"] == "/behind/proxy"


@pytest.mark.xdist_group("uvicorn")
@pytest.mark.parametrize(
    ("settings", "urls"),
    [
        ({"MEDIA_URL": "media/"}, ["/media/"]),
        pytest.param({"MEDIA_URL": "/up%20loads/"}, ["/up%20loads/"], marks=pytest.mark.slow),
        pytest.param(
            {"MEDIA_URL": "https://cdn.example.com/pulled/media/"},
            ["/pulled/media/"],
            marks=pytest.mark.slow,
        ),
        ({"MEDIA_URL": "media/", "FORCE_SCRIPT_NAME": "/app"}, ["/app/media/", "/media/"]),
        ({"MEDIA_URL": "/app/media/", "FORCE_SCRIPT_NAME": "/app"}, ["/app/media/", "/media/"]),
    ],
)
def test_the_default_location_follows_djangos_settings(
    settings: dict[str, str], urls: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "uploaded"  # not there yet
    told = json.dumps({"MEDIA_ROOT": str(root), **settings})
    with Server(
        "uvicorn", "tests.apps.configured:application", env={"MEDIA_SETTINGS": told}
    ) as server:
        served = Media(server, tmp_path)
        assert served.get(urls[0] + "a.txt").status == 404
        root.mkdir()
        (root / "a.txt").write_bytes(b"of the settings")
        for url in urls:
            soon(served, {url + "a.txt": b"of the settings"})
        assert served.passed_on("/elsewhere/a.txt")
