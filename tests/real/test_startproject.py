"""A newcomer's first hour: `django-admin startproject`, and the README's own lines."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.readme import block
from ..support.servers import ROOT, Server, reserved_port
from ..support.site import Browser, Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("startproject")]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DJANGO_SUPERUSER_PASSWORD": "admin",
        }

    def run(self, *arguments: str, status: int = 0) -> str:
        """What a command of Django's prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def add(self, file: str, text: str) -> None:
        with open(self.folder / "mysite" / file, "a") as settings:
            settings.write("\n" + text)


# An upload without a page of the project's own: a model with a file, in Django's admin.
MODELS = """
from django.db import models

class Paper(models.Model):
    file = models.FileField(upload_to="papers")
"""
ADMIN = """
from django.contrib import admin
from .models import Paper

admin.site.register(Paper)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What the README says, in its order, and nothing else."""
    project = Project(tmp_path_factory.mktemp("newcomer"))
    project.environment.pop("DJANGO_SETTINGS_MODULE")
    project.run("-m", "django", "startproject", "mysite", ".")
    (project.folder / "mysite" / "asgi.py").write_text(block("# mysite/asgi.py"))
    project.add("settings.py", block("# mysite/settings.py"))
    project.run("manage.py", "startapp", "papers")
    (project.folder / "papers" / "models.py").write_text(MODELS)
    (project.folder / "papers" / "admin.py").write_text(ADMIN)
    project.add("settings.py", 'INSTALLED_APPS += ["papers"]\n')
    project.run("manage.py", "makemigrations", "papers")
    project.run("manage.py", "migrate")
    project.run(
        "manage.py", "createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com"
    )
    return project


def test_nothing_of_it_is_forgotten(tmp_path: Path) -> None:
    """Without MEDIA_ROOT the server does not start, and says what to set."""
    project = Project(tmp_path)
    project.environment.pop("DJANGO_SETTINGS_MODULE")
    project.run("-m", "django", "startproject", "mysite", ".")
    (project.folder / "mysite" / "asgi.py").write_text(block("# mysite/asgi.py"))
    last = project.run("-m", "daphne", "-p", "0", "mysite.asgi:application", status=1)
    assert "ImproperlyConfigured: MEDIA_ROOT is not set" in last.splitlines()[-1]
    assert 'MEDIA_ROOT = BASE_DIR / "media"' in last.splitlines()[-1]


# What the README's command lines lack here: a free port, and gunicorn's socket in /root.
PORT = {
    "daphne": ["-p", "{port}"],
    "uvicorn": ["--port", "{port}"],
    "hypercorn": ["-b", "127.0.0.1:{port}"],
    "granian": ["--port", "{port}"],
    "gunicorn": ["-b", "127.0.0.1:{port}", "--no-control-socket"],
}


@pytest.mark.parametrize("command", block("daphne mysite.asgi:application").splitlines())
def test_each_command_line_serves_an_upload(project: Project, command: str) -> None:
    (project.folder / "media").mkdir(exist_ok=True)
    (project.folder / "media" / "line.txt").write_text("served")
    name, *arguments = command.split()
    port = reserved_port()
    options = [option.format(port=port) for option in PORT[name]]
    program = Path(sys.executable).with_name(name)  # as a reader starts it: not by python -m
    process = subprocess.Popen(
        [program, *options, *arguments],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}/media/line.txt"
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.read() == b"served"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def site(request: pytest.FixtureRequest, project: Project) -> Iterator[Site]:
    application = "mysite.asgi:application"
    with Server(
        request.param,
        application,
        cwd=project.folder,
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{project.folder}"},
    ) as server:
        yield Site(server, project.folder / "media")


def test_an_upload_through_the_admin(site: Site) -> None:
    browser = Browser(site)
    browser.log_in()
    data = os.urandom(3_000_000)  # large enough for Django's temporary files
    saved = browser.submit("/admin/papers/paper/add/", {}, (f"{site.server.name}.bin", data))
    assert saved.status == 302, saved.body
    page = browser.get("/admin/papers/paper/").body.decode()
    change = re.search(r'href="(/admin/papers/paper/\d+/change/)', page)
    assert change
    link = re.search(r'href="(/media/papers/[^"]+)"', browser.get(change[1]).body.decode())
    assert link
    served = Browser(site).get(link[1])  # a stranger
    assert served.status == 200
    assert served.body == data
    assert Browser(site).get(link[1], ("Range", "bytes=-7")).body == data[-7:]
    assert browser.get(link[1], ("If-None-Match", served["etag"])).status == 304


def test_a_file_that_the_default_storage_saves(project: Project, site: Site) -> None:
    url = project.run(
        "manage.py", "shell", "--verbosity=0", "--command",
        "from django.core.files.base import ContentFile\n"
        "from django.core.files.storage import default_storage\n"
        "print(default_storage.url(default_storage.save('hello.txt', ContentFile('hello'))))",
    ).strip()  # fmt: skip
    assert url.startswith("/media/hello")
    assert Browser(site).get(url).body == b"hello"


def test_the_pages_are_still_there(site: Site) -> None:
    assert b"The install worked successfully" in Browser(site).get("/").body
    assert Browser(site).get("/media/nothing.txt").status == 404
    assert Browser(site).get("/media/../mysite/settings.py").status == 404
    assert Browser(site).get("/media/../db.sqlite3").status == 404


def test_the_checks_are_content_with_what_the_readme_says(project: Project) -> None:
    assert "no issues (0 silenced)" in project.run("manage.py", "check")


def test_without_the_line_the_checks_say_so(project: Project) -> None:
    asgi = project.folder / "mysite" / "asgi.py"
    kept = asgi.read_text()
    asgi.write_text(
        kept.replace("MediaMiddleware(get_asgi_application())", "get_asgi_application()")
    )
    try:
        assert "media_asgi.W004" in project.run("manage.py", "check")
    finally:
        asgi.write_text(kept)
