"""What an nginx that caches keeps of the files, and gives to whoever asks next."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from media_asgi.signing import sign_url

from ..support.client import Connection, Response
from ..support.nginx import Nginx
from ..support.servers import Server

pytestmark = pytest.mark.xdist_group("shared-caches")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("uploads")
    for name in ("files/a.txt", "private/a.txt"):
        (root / name).parent.mkdir()
        (root / name).write_text(name)
    env = {"UPLOADS": str(root)}
    application = "tests.security.rooted:application"
    with Server("daphne", application, env=env, root_path="/app") as behind:
        with Nginx(behind.port, Path(root)) as nginx:
            yield nginx


def get(cache: Nginx, target: str) -> Response:
    with Connection(cache) as client:
        return client.get(target)


def test_the_readmes_recipe_stores_a_public_file(cache: Nginx) -> None:
    for folder in ("files", "unbuffered"):
        answers = [get(cache, f"/{folder}/a.txt") for _ in range(3)]
        assert [answer["x-cache"] for answer in answers] == ["MISS", "HIT", "HIT"]
        assert {answer.body for answer in answers} == {b"files/a.txt"}


def test_the_default_is_never_stored(cache: Nginx) -> None:
    answers = [get(cache, "/default/a.txt") for _ in range(3)]
    assert [answer["x-cache"] for answer in answers] == ["MISS"] * 3


def test_what_is_not_public_is_never_stored(cache: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")
    query = urlsplit(sign_url("/private/a.txt")).query
    for target in (f"/private/a.txt?{query}", "/asked/a.txt"):
        answers = [get(cache, target) for _ in range(3)]
        assert {answer.status for answer in answers} == {200}
        assert [answer["x-cache"] for answer in answers] == ["MISS"] * 3
        assert {answer["cache-control"] for answer in answers} == {"private, max-age=60"}
