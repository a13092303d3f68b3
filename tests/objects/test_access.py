"""Objects that are for some clients only, over SeaweedFS."""

from collections.abc import Iterator

import pytest
from django.conf import settings as django
from obstore import put

from media_asgi import signing

from ..conformance.support import noise
from ..support.client import Connection, Response
from ..support.servers import Server
from .engines import Engine
from .support import settings

pytestmark = pytest.mark.xdist_group("objects")

DATA = noise(700_000)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("daphne"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("uvicorn", "hypercorn", "granian")
        ),
    ],
)
def server(request: pytest.FixtureRequest, seaweedfs: Engine) -> Iterator[Server]:
    store = seaweedfs.store(prefix="guarded")
    for name in ("a", "internal/a", "signed/a", "asked/ann/a", "asked/bob/a"):
        put(store, f"{name}.bin", DATA)
    environment = {**settings(seaweedfs), "BUCKET_ROOT": "s3://media/guarded"}
    application = "tests.apps.guarded_bucket:application"
    with Server(request.param, application, env=environment) as started:
        yield started


def get(server: Server, path: str, *headers: tuple[str, str], method: str = "GET") -> Response:
    with Connection(server) as client:
        return client.get(path, headers, method=method)


def check(server: Server, path: str) -> None:
    """Here is the object, with all that a public one has."""
    whole = get(server, path)
    assert (whole.status, whole.body) == (200, DATA)
    part = get(server, path, ("Range", "bytes=600000-"))
    assert (part.status, part.body) == (206, DATA[600_000:])
    parts = get(server, path, ("Range", "bytes=0-4,600000-600004"))
    assert parts.status == 206
    assert DATA[:5] in parts.body
    assert DATA[600_000:600_005] in parts.body
    assert get(server, path, ("Range", "bytes=900000-")).status == 416
    assert get(server, path, method="HEAD").length == len(DATA)
    assert get(server, path, ("If-None-Match", whole["etag"])).status == 304


def test_a_hand_over_to_an_object(server: Server) -> None:
    check(server, "/download/a.bin")
    response = get(server, "/download/a.bin", method="HEAD")
    assert response["content-disposition"] == 'attachment; filename="own.bin"'
    assert "x-accel-redirect" not in response
    assert get(server, "/download/missing.bin").status == 404
    assert get(server, "/download/../a.bin").status == 404


def test_objects_of_an_internal_location_are_not_for_clients(server: Server) -> None:
    for path in ("/internal/a.bin", "/media/internal/a.bin", "/media//internal/a.bin"):
        assert get(server, path).status == 404
    assert get(server, "/media/a.bin").body == DATA


def test_a_signed_object(server: Server) -> None:
    django.SECRET_KEY = "x" * 50  # override_settings could not go back to having none
    url = signing.sign_url("/signed/a.bin")
    missing = signing.sign_url("/signed/missing.bin")
    check(server, url)
    assert get(server, missing).status == 404
    for path in ("/signed/a.bin", url[:-1], missing.replace("missing", "a")):
        assert get(server, path).status == 403
    assert get(server, "/media/signed/a.bin").status == 404


def test_an_object_that_a_predicate_allows(server: Server) -> None:
    check(server, "/asked/ann/a.bin?user=ann")
    assert get(server, "/asked/ann/missing.bin?user=ann").status == 404
    for path in ("/asked/bob/a.bin?user=ann", "/asked/ann/a.bin?user=bob", "/asked/ann/a.bin"):
        assert get(server, path).status == 403
    assert get(server, "/media/asked/ann/a.bin").status == 404
