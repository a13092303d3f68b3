"""Where the application is mounted, the server says, and no client: on real servers."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from media_asgi.signing import sign_url

from ..support.servers import Server
from ..support.site import Site

KINDS = {
    "daphne": ("daphne", "application", ""),
    "daphne-mounted": ("daphne", "application", "/app"),
    "daphne-wrapped": ("daphne", "wrapped", ""),
    "daphne-wrapped-mounted": ("daphne", "wrapped", "/app"),
    "uvicorn-mounted": ("uvicorn", "application", "/app"),
    "uvicorn-wrapped-mounted": ("uvicorn", "wrapped", "/app"),
}
HEADER = "Daphne-Root-Path"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uploads")
    for name in ("files/robots.txt", "files/private/invoice.pdf", "private/invoice.pdf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(f"root-{kind}")) for kind in KINDS],
)
def site(request: pytest.FixtureRequest, uploads: Path) -> Iterator[Site]:
    name, application, root_path = KINDS[request.param]
    env = {"UPLOADS": str(uploads)}
    with Server(
        name, f"tests.security.rooted:{application}", env=env, root_path=root_path
    ) as server:
        yield Site(server, uploads, kind=request.param)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "for these tests alone")


# As it is read, and in other letters; twice; and empty.
CLAIMS = [
    [(HEADER, "/files")],
    [(HEADER.lower(), "/files/")],
    [(HEADER, "/x"), (HEADER, "/files")],
    [(HEADER, "%2Ffiles")],
    [("X-Forwarded-Prefix", "/files"), ("X-Script-Name", "/files"), ("SCRIPT_NAME", "/files")],
]


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_a_signature_is_not_transplanted_by_a_header(
    site: Site, claim: list[tuple[str, str]]
) -> None:
    query = urlsplit(sign_url("/files/private/invoice.pdf")).query
    for target in ("/private/invoice.pdf", "/private//invoice.pdf", "//private/invoice.pdf"):
        for fields in (claim, [*claim, ("Range", "bytes=0-3")]):
            assert site.get(f"{target}?{query}", *fields).status == 403
    own = urlsplit(sign_url("/private/invoice.pdf")).query
    for _ in range(3):  # the later ones from memory
        answer = site.get(f"/private/invoice.pdf?{own}", *claim)
        assert (answer.status, answer.body) == (200, b"private/invoice.pdf")


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_an_upload_is_not_the_sites_own_file_by_a_header(
    site: Site, claim: list[tuple[str, str]]
) -> None:
    for _ in range(3):  # the later ones from memory
        assert site.get("/files/robots.txt").body == b"files/robots.txt"
        assert site.get("/files/robots.txt", *claim).body == b"files/robots.txt"
        answer = site.get("/robots.txt", *claim)
        assert answer.body == b"the application"
        assert "cache-control" not in answer


def test_a_mount_point_of_the_server_counts_where_it_is_in_reach(site: Site) -> None:
    mounted = site.kind.endswith("mounted") and site.kind != "daphne-wrapped-mounted"
    # Uvicorn puts it before each path by itself.
    prefix = "" if site.kind.startswith("uvicorn") else "/app"
    claims = [[], [(HEADER, "")], [(HEADER, "/other")], [(HEADER, "/app")]]
    for claim in claims:
        answer = site.get(f"{prefix}/files/robots.txt", *claim)
        assert answer.body == (b"files/robots.txt" if mounted else b"the application")
        assert site.get("/files/robots.txt", *claim).body == b"files/robots.txt"
        # And the predicate is told the same.
        assert site.get("/asked/robots.txt", *claim).status == (200 if mounted else 403)
    # The application's scope is as the server made it.
    told = site.get("/page", (HEADER, "/other"))["x-root-path"]
    assert told == ("/app" if site.kind.startswith("uvicorn") else "/other")
