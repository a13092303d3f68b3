"""``Location.static()``: the static files of a project, and which of them never change."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles import storage as static_storage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings
from django.urls import get_script_prefix, set_script_prefix
from django.utils.functional import empty

from media_asgi import Location, MediaMiddleware

from .support import Answer, ask

STORAGES = {
    "plain": "django.contrib.staticfiles.storage.StaticFilesStorage",
    "manifest": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    "whitenoise": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    "memory": "django.core.files.storage.InMemoryStorage",
}
FOREVER = "max-age=31536000, immutable"


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"x-inner", b"1")]})
    await send({"type": "http.response.body", "body": b"inner"})


class Site:
    def __init__(self, base: Path) -> None:
        self.sources = base / "assets"
        self.root = base / "static"
        self.sources.mkdir()
        self.root.mkdir()

    def write(self, name: str, text: str) -> None:
        path = self.sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))

    def collect(self) -> dict[str, str]:
        """As another process does it, such as a deployment."""
        call_command("collectstatic", verbosity=0, interactive=False)
        for path in self.root.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))  # old enough to be remembered
        manifest = self.root / "staticfiles.json"
        return dict(json.loads(manifest.read_text())["paths"]) if manifest.exists() else {}

    def use(self, storage: str, **options: Any) -> Any:
        one = {"BACKEND": STORAGES[storage], "OPTIONS": options}
        return override_settings(STORAGES={**settings.STORAGES, "staticfiles": one})


def forget() -> None:
    static_storage.staticfiles_storage._wrapped = empty  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def forget_storage() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.write("app.css", "body { color: red }" * 100)
    site.write("img/a.txt", "picture")
    with override_settings(
        STATIC_URL="/static/",
        STATIC_ROOT=str(site.root),
        STATICFILES_DIRS=[str(site.sources)],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        INSTALLED_APPS=["django.contrib.staticfiles"],
        DEBUG=False,
    ):
        finders.get_finder.cache_clear()  # type: ignore[attr-defined]
        forget()
        yield site
        finders.get_finder.cache_clear()  # type: ignore[attr-defined]


def served(**options: Any) -> MediaMiddleware:
    return MediaMiddleware(inner, Location.static(**options))


def get(application: Any, name: str, accept: bytes = b"") -> Answer:
    return ask(application, f"/static/{name}", headers=[(b"accept-encoding", accept)])


def cached(application: Any, name: str) -> str:
    """The Cache-Control that a file has, each time that it is asked for."""
    answers = [get(application, name) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    (value,) = {answer.headers["cache-control"] for answer in answers}
    return value


def test_static_settings_make_a_public_location_with_variants(site: Site) -> None:
    location = Location.static()
    assert (location.prefix, location.folders) == ("/static/", [str(site.root)])
    assert location.policy.is_public
    assert location.precompressed
    assert not location.sandbox
    assert location.cors is None
    assert Location.static(url="/other/").prefix == "/other/"
    assert not Location.static(precompressed=False).precompressed


def test_it_is_public_where_the_site_needs_a_login(site: Site) -> None:
    login = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(MIDDLEWARE=[login]):
        assert Location.static().policy.is_public
        with pytest.raises(ImproperlyConfigured, match="access"):
            Location(url="/static/", root=site.root)


def test_static_html_may_run(site: Site) -> None:
    site.write("a.html", "<script>")
    site.collect()
    assert "content-security-policy" not in get(served(), "a.html").headers
    assert "content-security-policy" in get(served(sandbox=True), "a.html").headers


def test_static_files_for_every_origin(site: Site) -> None:
    site.collect()
    assert "access-control-allow-origin" not in get(served(), "app.css").headers
    answer = get(served(cors="*"), "app.css")
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("storage", ["manifest", "whitenoise"])
def test_names_of_the_manifest_never_change(site: Site, storage: str) -> None:
    with site.use(storage):
        names = site.collect()
        application = served()
        assert re.fullmatch(r"app\.[0-9a-f]{12}\.css", names["app.css"])
        for name, hashed in names.items():
            assert cached(application, hashed) == FOREVER
            assert cached(application, name) == "no-cache"
        assert cached(application, "staticfiles.json") == "no-cache"
        for name, hashed in names.items():
            assert Location.static().cache_control_for(hashed) == FOREVER
            assert Location.static().cache_control_for(f"x/{name}") == "no-cache"


def test_a_name_that_only_looks_hashed_may_change(site: Site) -> None:
    site.write("app.0123456789ab.css", "body {}")
    with site.use("manifest"):
        names = site.collect()
        application = served()
        assert cached(application, "app.0123456789ab.css") == "no-cache"
        assert cached(application, names["app.0123456789ab.css"]) == FOREVER


@pytest.mark.parametrize("storage", ["plain", "memory"])
def test_a_storage_without_a_manifest_makes_no_such_names(site: Site, storage: str) -> None:
    with site.use("manifest"):
        names = site.collect()
    forget()
    with site.use(storage):
        application = served()
        assert {cached(application, name) for name in [*names, *names.values()]} == {"no-cache"}


def test_with_debug_nothing_is_versioned(site: Site) -> None:
    with site.use("manifest"):
        names = site.collect()
        with override_settings(DEBUG=True):
            assert cached(served(), names["app.css"]) == "no-cache"
        assert cached(served(), names["app.css"]) == FOREVER


@pytest.mark.parametrize("storage", ["manifest", "whitenoise"])
def test_a_manifest_that_is_written_while_the_server_runs(site: Site, storage: str) -> None:
    with site.use(storage):
        application = served()  # before there is one
        assert get(application, "app.css").status == 404
        first = site.collect()
        assert cached(application, first["app.css"]) == FOREVER
        site.write("app.css", "body { color: blue }" * 100)
        os.utime(site.sources / "app.css", (1_800_000_000, 1_800_000_000))
        second = site.collect()
        assert second["app.css"] != first["app.css"]
        assert cached(application, second["app.css"]) == FOREVER
        # Pages with the names of before are still open.
        assert cached(application, first["app.css"]) == FOREVER
        assert cached(application, "app.css") == "no-cache"


def test_a_file_that_comes_before_its_manifest(site: Site) -> None:
    with site.use("manifest"):
        site.collect()
        application = served()
        (site.root / "b.css").write_text("b")
        (site.root / "b.0123456789ab.css").write_text("b")
        for name in ("b.css", "b.0123456789ab.css"):
            os.utime(site.root / name, (1_700_000_000, 1_700_000_000))
        assert cached(application, "b.0123456789ab.css") == "no-cache"
        manifest = site.root / "staticfiles.json"
        whole = json.loads(manifest.read_text())
        whole["paths"]["b.css"] = "b.0123456789ab.css"
        text = json.dumps(whole)
        for broken in ("", text[:50], "[]"[:1]):
            manifest.write_text(broken)
            assert cached(application, "b.0123456789ab.css") == "no-cache"
        manifest.unlink()
        assert cached(application, "b.0123456789ab.css") == "no-cache"
        manifest.write_text(text)
        assert cached(application, "b.0123456789ab.css") == FOREVER


def test_a_manifest_in_another_folder(site: Site, tmp_path: Path) -> None:
    from django.core.files.storage import FileSystemStorage

    elsewhere = FileSystemStorage(location=tmp_path / "elsewhere")
    with site.use("manifest", manifest_storage=elsewhere):
        application = served()
        site.collect()
        assert not (site.root / "staticfiles.json").exists()
        names = json.loads((tmp_path / "elsewhere" / "staticfiles.json").read_text())["paths"]
        assert cached(application, names["app.css"]) == FOREVER


def test_a_manifest_in_no_folder(site: Site) -> None:
    from django.core.files.storage import InMemoryStorage

    with site.use("manifest", manifest_storage=InMemoryStorage()):
        site.collect()
        names = static_storage.staticfiles_storage.hashed_files  # type: ignore[attr-defined]
        assert cached(served(), names["app.css"]) == FOREVER
        assert cached(served(), "app.css") == "no-cache"


def test_an_own_pattern_counts_instead_of_the_manifest(site: Site) -> None:
    with site.use("manifest"):
        names = site.collect()
        application = served(immutable=r"^img/")
        assert cached(application, names["app.css"]) == "no-cache"
        assert cached(application, "img/a.txt") == FOREVER
        assert cached(served(immutable=None), names["app.css"]) == "no-cache"


def test_variants_that_whitenoise_made_are_served(site: Site) -> None:
    site.write("app.css", "body { color: red }\n" * 1000)
    with site.use("whitenoise"):
        call_command("collectstatic", verbosity=0, interactive=False)
        names = json.loads((site.root / "staticfiles.json").read_text())["paths"]
        application = served()
        for name in ("app.css", names["app.css"]):
            answer = get(application, name, b"gzip")
            assert answer.headers["content-encoding"] == "gzip"
            assert len(answer.body) < 1000
        assert get(application, names["app.css"], b"gzip").headers["cache-control"] == FOREVER


def test_whitenoises_storage_may_keep_the_hashed_names_alone(site: Site) -> None:
    site.write("app.css", "body { color: red }\n" * 1000)
    with site.use("whitenoise"), override_settings(WHITENOISE_KEEP_ONLY_HASHED_FILES=True):
        names = site.collect()
        application = served()
        assert get(application, "app.css").status == 404
        assert cached(application, names["app.css"]) == FOREVER
        assert get(application, names["app.css"], b"gzip").headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("command", "coding"),
    [
        ([sys.executable, "-m", "whitenoise.compress", "-q", "."], "br"),
        ([sys.executable, "-m", "whitenoise.compress", "-q", "--no-brotli", "."], "gzip"),
        (["gzip", "-9kf", "app.css"], "gzip"),
        (["zstd", "-q", "-19", "app.css"], "zstd"),
    ],
    ids=["whitenoise", "whitenoise without Brotli", "gzip", "zstd"],
)
@pytest.mark.parametrize("storage", ["plain", "manifest"])
def test_another_compressor_may_have_packed_the_files(
    site: Site, storage: str, command: list[str], coding: str
) -> None:
    site.write("app.css", "body { color: red }\n" * 1000)
    with site.use(storage):
        name = site.collect().get("app.css", "app.css")
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        command = [name if part == "app.css" else part for part in command]
        subprocess.run(command, cwd=site.root, check=True, timeout=60)
        answer = get(served(), name, b"gzip, br, zstd")
        assert answer.headers["content-encoding"] == coding
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        assert len(answer.body) < 1000


def test_each_file_of_a_folder_at_the_root_of_the_site(site: Site) -> None:
    """What WhiteNoise calls its root."""
    public = site.root.parent / "public"
    (public / ".well-known").mkdir(parents=True)
    for name in ("robots.txt", "favicon.ico", "google1.html", ".well-known/security.txt"):
        (public / name).write_text(name)
    application = MediaMiddleware(
        inner,
        *(
            Location(url=f"/{path.name}", root=path)
            for path in public.glob("*.*")
            if path.is_file()
        ),
        Location(url="/.well-known/", root=public / ".well-known"),
    )
    for name in ("robots.txt", "favicon.ico", "google1.html", ".well-known/security.txt"):
        assert ask(application, f"/{name}").body == name.encode()
    assert ask(application, "/nothing.txt").body == b"inner"


@pytest.mark.parametrize("root", ["", None])
def test_static_without_a_root_is_refused(root: str | None) -> None:
    with override_settings(STATIC_URL="/static/", STATIC_ROOT=root):
        with pytest.raises(ImproperlyConfigured, match=r"STATIC_ROOT is not set.*BASE_DIR"):
            Location.static()


@pytest.mark.parametrize("url", [None, "", "/"])
def test_static_without_a_url_is_refused(url: str | None, tmp_path: Path) -> None:
    with override_settings(STATIC_URL=url, STATIC_ROOT=str(tmp_path)):
        with pytest.raises(ImproperlyConfigured, match=r'STATIC_URL is .*STATIC_URL = "/static/"'):
            Location.static()


def test_a_static_url_below_a_script_name(site: Site) -> None:
    before = get_script_prefix()
    try:
        with override_settings(STATIC_URL="static/", STATIC_ROOT=str(site.root)):
            set_script_prefix("/app/")
            assert Location.static().prefix == "/app/static/"
            set_script_prefix("/other/")
            assert settings.STATIC_URL == "/other/static/"
    finally:
        set_script_prefix(before)


def test_the_projects_own_storage_is_left_to_its_first_request(site: Site) -> None:
    before = get_script_prefix()
    try:
        with site.use("manifest"):
            names = site.collect()
        with override_settings(STATIC_URL="static/"), site.use("manifest"):
            application = served()
            assert cached(application, names["app.css"]) == FOREVER
            set_script_prefix("/app/")
            url = static_storage.staticfiles_storage.url("app.css")
            assert url == f"/app/static/{names['app.css']}"
    finally:
        set_script_prefix(before)
        vars(settings).pop("STATIC_URL", None)


def test_a_static_url_of_another_host(site: Site) -> None:
    with override_settings(STATIC_URL="https://cdn.example/s/"):
        assert Location.static().prefix == "/s/"
