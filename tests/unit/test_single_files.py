"""A location that is one file, and files that answer for their folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from media_asgi import Location, MediaMiddleware
from media_asgi.signing import sign_prefix, sign_url

from .support import Answer, ask

INNER = 299


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": INNER, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def public(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    (root / "site" / "docs").mkdir(parents=True)
    (root / "site" / "empty").mkdir()
    for name, content in {
        "robots.txt": b"User-agent: *",
        "secret.txt": b"SECRET",
        "site/index.html": b"top",
        "site/a.txt": b"a",
        "site/docs/index.html": b"docs",
    }.items():
        (root / name).write_bytes(content)
    return root


# --- One file -----------------------------------------------------------------------------------


@pytest.fixture
def robots(public: Path) -> MediaMiddleware:
    return MediaMiddleware(inner, Location(url="/robots.txt", root=public / "robots.txt"))


def test_one_file_is_served_at_its_url(robots: MediaMiddleware) -> None:
    for path in ("/robots.txt", "//robots.txt"):
        answer = ask(robots, path)
        assert (answer.status, answer.body) == (200, b"User-agent: *")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    etag = answer.headers["etag"].encode()
    for _ in range(2):
        assert ask(robots, "/robots.txt", headers=[(b"if-none-match", etag)]).status == 304
    assert ask(robots, "/robots.txt", "HEAD").body == b""
    assert ask(robots, "/robots.txt", "POST").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/robots",
        "/robots.txt/",
        "/robots.txt/x",
        "/robots.txt/../secret.txt",
        "/robots.txtx",
        "/robots.txt.gz",
        "/secret.txt",
        "/x/robots.txt",
    ],
)
def test_only_its_url_is_the_files(robots: MediaMiddleware, path: str) -> None:
    assert ask(robots, path).status == INNER


def test_one_file_below_a_mount_point(public: Path) -> None:
    with override_settings(FORCE_SCRIPT_NAME="/app"):
        served = MediaMiddleware(inner, Location(url="/robots.txt", root=public / "robots.txt"))
        for path in ("/app/robots.txt", "/robots.txt"):
            assert ask(served, path).status == 200
        for path in ("/app/robots.txt/", "/app/robots.txt/secret.txt", "/robots.txtx", "/app/x"):
            assert ask(served, path).status == INNER


def test_one_file_beside_other_locations(public: Path) -> None:
    served = MediaMiddleware(
        inner,
        Location(url="/media/", root=public / "site"),
        Location(url="/media/a.txt", root=public / "robots.txt"),
        Location(url="/media/a.txt/", root=public / "site" / "docs"),
    )
    assert ask(served, "/media/a.txt").body == b"User-agent: *"
    assert ask(served, "/media/a.txt/index.html").body == b"docs"
    assert ask(served, "/media/docs/index.html").body == b"docs"


def test_one_file_that_comes_and_goes(public: Path) -> None:
    later = public / "later.txt"
    served = MediaMiddleware(inner, Location(url="/later.txt", root=later))
    assert ask(served, "/later.txt").status == 404
    later.write_bytes(b"there")
    assert ask(served, "/later.txt").body == b"there"
    later.unlink()
    later.mkdir()
    assert ask(served, "/later.txt").status == 404
    falls = MediaMiddleware(inner, Location(url="/x.txt", root=public / "x.txt", fallthrough=True))
    assert ask(falls, "/x.txt").status == INNER


def test_one_file_is_named_by_the_project_and_may_be_anything(public: Path) -> None:
    (public.parent / "elsewhere.png").write_bytes(b"png")
    (public / ".well").write_bytes(b"dot")
    (public / "link.png").symlink_to(public.parent / "elsewhere.png")
    for url, name, type_ in [
        ("/favicon.ico", "link.png", "image/png"),  # the file's own type
        ("/.well-known/security", ".well", "application/octet-stream"),
    ]:
        answer = ask(MediaMiddleware(inner, Location(url=url, root=public / name)), url)
        assert answer.status == 200
        assert answer.headers["content-type"] == type_


def test_callables_of_one_file_get_its_name(public: Path) -> None:
    seen: list[str] = []

    def headers(path: str) -> dict[str, str]:
        seen.append(path)
        return {"x-own": "1"}

    location = Location(url="/a", root=public / "robots.txt", headers=headers, immutable="robots")
    answer = ask(MediaMiddleware(inner, location), "/a")
    assert answer.headers["x-own"] == "1"
    assert "immutable" in answer.headers["cache-control"]
    assert set(seen) == {"robots.txt"}


def test_one_file_with_variants(public: Path) -> None:
    (public / "robots.txt.gz").write_bytes(b"packed")
    location = Location(url="/r.txt", root=public / "robots.txt", precompressed=True)
    served = MediaMiddleware(inner, location)
    assert ask(served, "/r.txt", headers=[(b"accept-encoding", b"gzip")]).body == b"packed"
    assert ask(served, "/r.txt").body == b"User-agent: *"


def test_one_file_in_a_restricted_folder_is_public(public: Path) -> None:
    served = MediaMiddleware(
        inner,
        Location(url="/robots.txt", root=public / "robots.txt"),
        Location(url="/private/", root=public, access=lambda request, path: False),
    )
    assert ask(served, "/robots.txt").status == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"access": "signed"}, ["access of", "'/r'", "'signed'", "one file", "the folder"]),
        ({"access": "internal"}, ["access of", "'/r'", "'internal'", "one file", "the folder"]),
        ({"access": lambda request, path: True}, ["access of", "lambda", "one file", "the folder"]),
        ({"dotfiles": True}, ["dotfiles", "True", "one file", "Leave dotfiles out"]),
        ({"follow_symlinks": ["/srv"]}, ["follow_symlinks", "/srv", "Leave follow_symlinks out"]),
        ({"index": "index.html"}, ["index", "'index.html'", "one file", "Leave index out"]),
    ],
)
def test_options_that_one_file_can_not_have(
    public: Path, options: dict[str, Any], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "a test's")
    with pytest.raises(ImproperlyConfigured) as raised:
        Location(**{"url": "/r", "root": public / "robots.txt", **options})
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("url", "root", "is_file"),
    [
        ("/robots.txt", "robots.txt", True),
        ("/robots.txt/", "robots.txt", False),  # E003 of the system checks
        ("/r", "robots.txt", True),
        ("/site", "site", False),
        ("/media", "missing", False),
        ("/media.v2", "media.v2", False),
        ("/robots.txt", "missing.txt", True),
        ("/robots.txt/", "missing.txt", False),
        ("/robots.txt", "missing", False),
        ("/a.txt", "dangling.txt", False),
    ],
)
def test_which_url_and_root_are_one_file(public: Path, url: str, root: str, is_file: bool) -> None:
    (public / "dangling.txt").symlink_to("nowhere")
    location = Location(url=url, root=public / root)
    assert bool(location.file) is is_file
    assert location.prefix == (url if is_file else f"{url.rstrip('/')}/")


# --- Index files --------------------------------------------------------------------------------

Get = Callable[..., Answer]


def site(public: Path, **options: Any) -> Get:
    location = Location(**{"url": "/s/", "root": public / "site", "index": "index.html", **options})
    served = MediaMiddleware(inner, location)

    def get(path: str, *args: Any, query: bytes = b"", **more: Any) -> Answer:
        return ask(served, path, *args, query_string=query, **more)

    return get


def test_a_folder_gives_its_index(public: Path) -> None:
    get = site(public)
    for _ in range(2):
        for path, body in [("/s/", b"top"), ("/s/docs/", b"docs"), ("/s/docs/index.html", b"docs")]:
            answer = get(path)
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert "content-security-policy" in answer.headers
    etag = get("/s/").headers["etag"].encode()
    assert get("/s/", headers=[(b"if-none-match", etag)]).status == 304
    assert get("/s/", "HEAD").status == 200
    assert get("/s/", "POST").status == 405


@pytest.mark.parametrize("path", ["*", "http://a.example/", "http://a.example/a.txt"])
def test_a_target_that_is_not_a_path_is_not_the_index(public: Path, path: str) -> None:
    get = site(public, url="/", host="a.example")
    assert get("/", headers=[(b"host", b"a.example")]).body == b"top"
    assert get(path, headers=[(b"host", b"a.example")]).status == 404


def test_a_folder_without_the_slash_is_redirected_to_it(public: Path) -> None:
    get = site(public)
    for method in ("GET", "HEAD"):
        answer = get("/s/docs", method)
        assert answer.status == 301
        assert answer.headers["location"] == "./docs/"
        assert answer.headers["cache-control"] == "no-store"
    assert get("/s/docs", query=b"a=1&b=%20").headers["location"] == "./docs/?a=1&b=%20"
    assert get("/s/docs", "POST").status == 405


@pytest.mark.parametrize(
    ("folder", "location"),
    [
        ("evil.example", "./evil.example/"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29/"),
        ("a b", "./a%20b/"),
        ("é", "./%C3%A9/"),
        ("a?b#c", "./a%3Fb%23c/"),
        ("a%2Fb", "./a%252Fb/"),
        ("\\evil", "./%5Cevil/"),
        ("x\r\ny", "./x%0D%0Ay/"),
        ("\udcff", "./%FF/"),
    ],
)
@pytest.mark.parametrize("before", ["/s/", "//s/", "/s//", "/s/docs/"])
def test_a_redirect_stays_on_the_site(
    public: Path, folder: str, location: str, before: str
) -> None:
    for above in ("site", "site/docs"):
        (public / above / folder).mkdir()
        (public / above / folder / "index.html").write_bytes(b"x")
    if "\udcff" in folder:
        raw = before.encode() + b"%FF"
        answer = site(public)(before + "\ufffd", raw_path=raw)
    else:
        answer = site(public)(before + folder)
    assert answer.status == 301
    assert answer.headers["location"] == location


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"a=b&c[]=d/e?f", "a=b&c[]=d/e?f"),
        (b"x\r\nSet-Cookie: y", "x%0D%0ASet-Cookie:%20y"),
        (b'\xff<">', "%FF%3C%22%3E"),
    ],
)
def test_a_query_goes_with_a_redirect(public: Path, query: bytes, kept: str) -> None:
    assert site(public)("/s/docs", query=query).headers["location"] == f"./docs/?{kept}"


@pytest.mark.parametrize(
    "path", ["/s/empty", "/s/empty/", "/s/missing", "/s/missing/", "/s/a.txt/", "/s/docs/..",
             "/s/../", "/s/.", "/s/docs/../"]
)  # fmt: skip
def test_a_folder_without_an_index_is_missing(public: Path, path: str) -> None:
    assert site(public)(path).status == 404
    assert site(public, fallthrough=True)(path).status == INNER


def test_a_folder_without_the_option_is_missing(public: Path) -> None:
    for path in ("/s/", "/s/docs", "/s/docs/"):
        assert site(public, index=None)(path).status == 404


def test_hidden_folders_stay_hidden(public: Path) -> None:
    for name in (".git", "docs/.git"):
        (public / "site" / name).mkdir()
        (public / "site" / name / "index.html").write_bytes(b"SECRET")
    for path in ("/s/.git", "/s/.git/", "/s/docs/.git", "/s/docs/.git/"):
        assert site(public)(path).status == 404
        assert site(public, dotfiles=True)(path).status == (200 if path.endswith("/") else 301)


def test_a_link_out_of_the_root_is_no_index(public: Path) -> None:
    (public / "site" / "empty" / "index.html").symlink_to(public / "secret.txt")
    for path in ("/s/empty", "/s/empty/"):
        assert site(public)(path).status == 404


def test_an_index_below_a_mount_point(public: Path) -> None:
    with override_settings(FORCE_SCRIPT_NAME="/app"):
        get = site(public)
        assert get("/app/s/docs/").body == b"docs"
        assert get("/app/s/docs").headers["location"] == "./docs/"


def test_an_index_for_other_origins(public: Path) -> None:
    get = site(public, cors=["https://a.example"])
    answer = get("/s/docs", headers=[(b"origin", b"https://a.example")])
    assert answer.status == 301
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_an_index_with_variants(public: Path) -> None:
    (public / "site" / "index.html.gz").write_bytes(b"packed")
    get = site(public, precompressed=True)
    assert get("/s/", headers=[(b"accept-encoding", b"gzip")]).body == b"packed"
    assert get("/s/docs", headers=[(b"accept-encoding", b"gzip")]).status == 301


def test_only_who_may_have_the_folder_learns_that_it_is_there(public: Path) -> None:
    asked: list[str] = []

    async def access(request: Any, path: str) -> bool:
        asked.append(path)
        return not path.startswith("docs")

    get = site(public, access=access)
    assert get("/s/").body == b"top"
    for path in ("/s/docs", "/s/docs/", "/s/docs/index.html"):
        assert get(path).status == 403
    assert asked == ["index.html", "docs", "docs/index.html", "docs/index.html"]


def test_an_index_of_an_internal_location_is_refused(public: Path) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        site(public, access="internal")
    for word in ("index of the location '/s/'", "'index.html'", "internal", "Leave index out"):
        assert word in str(raised.value)


def test_a_signed_folder_gives_its_index(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "a test's")
    get = site(public, access="signed")
    signed = sign_prefix("/s/")
    assert get(signed).body == b"top"
    assert get(f"{signed}docs/").body == b"docs"
    answer = get(f"{signed}docs")
    assert (answer.status, answer.headers["location"]) == (301, "./docs/")
    docs = sign_prefix("/s/docs/")
    assert get(docs).body == b"docs"
    for path in ("/s/", "/s/docs", "/s/docs/", docs[:-1], docs.replace("/docs/", "/"), f"{docs}.."):
        assert get(path).status in (403, 404)
    path, _, query = sign_url("/s/docs/").partition("?")
    assert get(path, query=query.encode()).body == b"docs"
    # A link is for one URL. That of the folder is another.
    path, _, query = sign_url("/s/docs").partition("?")
    answer = get(path, query=query.encode())
    assert answer.headers["location"] == f"./docs/?{query}"
    assert get("/s/docs/", query=query.encode()).status == 403


def test_an_unreadable_index(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (public / "site" / "docs" / "index.html").chmod(0)
    assert site(public)("/s/docs").status == 403
