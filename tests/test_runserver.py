"""Development: a project from ``startproject`` under ``manage.py runserver``."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.client import Connection, Response
from .support.servers import ROOT, Process, Server, reserved_port, serving_process

SETTINGS = """
INSTALLED_APPS = [{first}*INSTALLED_APPS, "media_asgi"]
ASGI_APPLICATION = "mysite.asgi.application"
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "media"
"""
URLS = """
from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls), path("told/", lambda _: HttpResponse("{told}"))]
"""
DATA = random.Random(7).randbytes(20 << 20)


class Project:
    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "django", "startproject", "mysite", str(folder)]
        subprocess.run(command, check=True, timeout=60)
        self.folder = folder
        self.media = folder / "media"
        self.urls = folder / "mysite" / "urls.py"
        self.settings = folder / "mysite" / "settings.py"
        self.asgi = folder / "mysite" / "asgi.py"
        self.urls.write_text(URLS.format(told="one"))
        self.serve()

    def serve(self, locations: str = "") -> None:
        """The line that the README gives, in the place of startproject's own."""
        made = "application = get_asgi_application()\n"
        text = self.asgi.read_text()
        start = text.partition("\napplication =")[0] if "media_asgi" in text else None
        if start is None:
            assert made in text
            start = text.replace(made, "from media_asgi import Location, MediaMiddleware\n")
        line = f"application = MediaMiddleware(get_asgi_application(){locations})\n"
        self.asgi.write_text(f"{start}\n{line}")

    def set(self, first: str, more: str = "") -> None:
        with open(self.settings, "a") as settings:
            settings.write(SETTINGS.format(first=first) + more)


class Runserver(Server):
    """``manage.py runserver`` of a project, and the process that it serves with."""

    def __init__(self, project: Project, *options: str, told: str = "one") -> None:
        self.name = "runserver"
        self.unix = self.tls = None
        self.port = reserved_port()
        address = f"127.0.0.1:{self.port}"
        Process.__init__(self)
        self._start(
            [sys.executable, "manage.py", "runserver", address, *options],
            project.folder,
            {"PYTHONPATH": str(ROOT)},
        )
        try:
            self.wait_for("/told/", told)
        except BaseException:
            self.kill()
            raise
        self.pid = serving_process(self._process.pid)

    def get(self, path: str, *headers: tuple[str, str]) -> Response:
        with Connection(self) as client:
            return client.get(path, headers)

    def wait_for(self, path: str, text: str, changed: Path | None = None) -> None:
        """Until the process answers that has seen the change."""
        for _ in waiting(self, changed):
            with contextlib.suppress(ConnectionError):
                response = self.get(path)
                if text in str(response.headers) + response.body.decode(errors="replace"):
                    return


def waiting(server: Runserver, changed: Path | None) -> Iterator[None]:
    """A new process answers before its reloader knows the files, and a change in between is none to
    it: so the file is touched again and again."""
    for tick in range(600):
        assert server.alive(), server.log[-3000:]
        if changed and tick % 20 == 19:
            os.utime(changed)
        yield
        time.sleep(0.2)
    raise TimeoutError(server.log[-3000:])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def check_media(server: Runserver, project: Project) -> None:
    (project.media / "photos").mkdir(parents=True, exist_ok=True)  # as the first upload does
    (project.media / "photos" / "größe 1.jpg").write_bytes(DATA)
    url = "/media/photos/gr%C3%B6%C3%9Fe%201.jpg"
    whole = server.get(url)
    assert whole.status == 200
    assert whole["content-type"] == "image/jpeg"
    assert whole.body == DATA
    assert len(whole.all("date")) == 1
    part = server.get(url, ("Range", "bytes=1000000-1999999"))
    assert part.status == 206
    assert part.body == DATA[1_000_000:2_000_000]
    time.sleep(max(0, 2.1 - time.time() + (project.media / "photos").stat().st_mtime))
    assert server.get(url, ("If-None-Match", server.get(url)["etag"])).status == 304
    missing = server.get("/media/none.jpg")
    assert missing.status == 404
    assert missing["cache-control"] == "no-store"  # and not Django's page for DEBUG


def check_site(server: Runserver) -> None:
    assert server.get("/told/").body == b"one"
    assert b'name="username"' in server.get("/admin/login/").body
    assert server.get("/static/admin/css/base.css")["content-type"].startswith("text/css")


DAPHNE, NOSTATIC = '"daphne", ', '"whitenoise.runserver_nostatic", "daphne", '
WHITENOISE = 'MIDDLEWARE.insert(1, "whitenoise.middleware.WhiteNoiseMiddleware")\n'


@pytest.mark.parametrize(
    ("first", "more", "options"),
    [
        (DAPHNE, "", []),
        pytest.param(DAPHNE, "", ["--noreload"], marks=pytest.mark.slow),
        pytest.param(NOSTATIC, WHITENOISE, [], marks=pytest.mark.slow),
    ],
    ids=["as startproject has it", "noreload", "static files by WhiteNoise"],
)
def test_media_with_debug_and_no_static_helper(
    project: Project, first: str, more: str, options: list[str]
) -> None:
    project.set(first, more)
    with Runserver(project, *options) as server:
        check_media(server, project)
        check_site(server)
        assert "System check identified no issues (0 silenced)." in server.log
        assert "Starting ASGI/Daphne" in server.log
        assert "HTTP GET /media/photos/gr" in server.log
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_media_without_debug(project: Project) -> None:
    project.set(DAPHNE, 'DEBUG = False\nALLOWED_HOSTS = ["127.0.0.1"]\n')
    with Runserver(project) as server:
        check_media(server, project)
        assert server.get("/told/").body == b"one"
        assert "System check identified no issues (0 silenced)." in server.log


@pytest.mark.slow
def test_without_daphne_the_check_says_why(project: Project) -> None:
    project.set("")
    project.media.mkdir()
    (project.media / "a.txt").write_text("hello")
    with Runserver(project) as server:
        assert server.get("/told/").body == b"one"
        assert server.get("/media/a.txt").status == 404
        assert "(media_asgi.W005)" in server.log
        assert "System check identified 1 issue (0 silenced)." in server.log


@pytest.fixture
def reloading(project: Project) -> Iterator[Runserver]:
    project.set(DAPHNE)
    project.media.mkdir()
    (project.media / "a.txt").write_text("hello")
    with Runserver(project) as server:
        yield server


@pytest.mark.slow
def test_runserver_reloads_a_project_that_changes(project: Project, reloading: Runserver) -> None:
    server = reloading
    server.wait_for("/media/a.txt", "hello")
    project.urls.write_text(URLS.format(told="two"))
    server.wait_for("/told/", "two", project.urls)
    server.wait_for("/media/a.txt", "hello")
    assert not Path(f"/proc/{server.pid}").exists()
    # The line itself.
    project.serve(', Location.media(cache_control="max-age=77")')
    server.wait_for("/media/a.txt", "max-age=77", project.asgi)
    if not waits_out_a_mistake(server, project):
        assert any(another_waits_out_a_mistake(project) for _ in range(10))


def waits_out_a_mistake(server: Runserver, project: Project) -> bool:
    """The mistake is told, and the project is served again after it.

    ``False`` if Django's reloader has ended by itself: it looks at the modules one by one, and ends
    with a KeyError if an import that fails takes its own module away at that moment.
    """
    project.serve(", Location.media(no_such_option=1)")
    while server.alive() and "Exception in thread django-main-thread" not in server.log:
        os.utime(project.asgi)
        time.sleep(1)
    if server.alive():
        time.sleep(2)
    project.serve(', Location.media(cache_control="max-age=88")')
    try:
        server.wait_for("/media/a.txt", "max-age=88", project.asgi)
    except AssertionError:
        assert "in iter_all_python_module_files" in server.log
        return False
    assert "(media_asgi.E009)" in server.log
    assert "unexpected keyword argument 'no_such_option'" in server.log
    return True


def another_waits_out_a_mistake(project: Project) -> bool:
    with Runserver(project, told="two") as server:
        return waits_out_a_mistake(server, project)


@pytest.mark.slow
def test_autoreload_ends_a_download_that_stalls(project: Project, reloading: Runserver) -> None:
    """A player that is paused keeps no old process alive."""
    (project.media / "a.bin").write_bytes(DATA)
    with Connection(reloading, rcvbuf=4096) as stalled:
        stalled.request("/media/a.bin")
        assert stalled.head().status == 200
        project.urls.write_text(URLS.format(told="two"))
        reloading.wait_for("/told/", "two", project.urls)
        assert not Path(f"/proc/{reloading.pid}").exists()
