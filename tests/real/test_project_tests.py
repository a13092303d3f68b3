"""How a project tests its media, as the README shows it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.servers import ROOT

pytestmark = pytest.mark.slow

SETTINGS = """
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
SECRET_KEY = "for these tests alone"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["daphne", "django.contrib.contenttypes", "channels", "media_asgi"]
ROOT_URLCONF = "site_of_tests"
ASGI_APPLICATION = "site_of_tests.application"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "db.sqlite3",
        "TEST": {"NAME": DATA / "test.sqlite3"},
    }
}
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = DATA / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "private": {
        "BACKEND": "media_asgi.storage.SignedMediaStorage",
        "OPTIONS": {"base_url": "/private/"},  # in MEDIA_ROOT
    },
}
"""
SITE = """
from django.core.asgi import get_asgi_application
from django.core.files.storage import default_storage, storages
from django.http import HttpResponse
from django.urls import path

inner = get_asgi_application()

from media_asgi import Location, MediaMiddleware


def page(request):
    return HttpResponse(default_storage.url("a.txt") + " " + storages["private"].url("a.txt"))


def report(request):
    return HttpResponse(headers={"X-Accel-Redirect": "/protected/a.txt"})


urlpatterns = [path("page", page), path("report", report)]
application = MediaMiddleware(
    inner,
    Location.media(),
    Location.storage("private"),
    Location.media(url="/protected/", access="internal"),
)
"""
TESTS = '''
import tempfile
from pathlib import Path
from urllib.request import urlopen

import httpx
import pytest
from channels.testing import ChannelsLiveServerTestCase
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import AsyncClient, SimpleTestCase, override_settings

from site_of_tests import application


def client():
    transport = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


async def check(text):
    """A page with links, the files that they lead to, and a view that hands over."""
    default_storage.save("a.txt", ContentFile(text))
    async with client() as browser:
        public, private = (await browser.get("/page")).text.split()
        assert (await browser.get(public)).text == text
        assert (await browser.get(private)).text == text
        assert (await browser.get(private.partition("?")[0])).status_code == 403
        report = await browser.get("/report")
        assert (report.status_code, report.text) == (200, text)
        assert "x-accel-redirect" not in report.headers
        part = await browser.get(public, headers={"Range": "bytes=0-1"})
        assert (part.status_code, part.text) == (206, text[:2])


def test_settings_of_pytest_django(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    import asyncio
    asyncio.run(check("pytest"))


def test_settings_of_pytest_django_with_another_url(settings, tmp_path):
    settings.MEDIA_ROOT, settings.MEDIA_URL = str(tmp_path), "/uploads/"
    import asyncio
    asyncio.run(check("pytest again"))


class Overridden(SimpleTestCase):
    async def test_override_settings(self):
        for text in ("one", "two"):
            with tempfile.TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=folder):
                await check(text)

    async def test_async_client(self):
        """It calls Django alone, so it sees what the view hands over."""
        answer = await AsyncClient().get("/report")
        self.assertEqual(answer.headers["X-Accel-Redirect"], "/protected/a.txt")
        self.assertEqual(answer.content, b"")
        page = await AsyncClient().get("/page")
        self.assertTrue(page.content.startswith(b"/media/a.txt /private/a.txt?media-expires="))


class Live(ChannelsLiveServerTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.enterClassContext(override_settings(MEDIA_ROOT=cls.folder))
        super().setUpClass()

    def test_live_server(self):
        default_storage.save("a.txt", ContentFile("live"))
        self.assertTrue(Path(self.folder, "a.txt").exists())
        for link in urlopen(self.live_server_url + "/page").read().decode().split():
            self.assertEqual(urlopen(self.live_server_url + link).read(), b"live")
        self.assertEqual(urlopen(self.live_server_url + "/report").read(), b"live")
'''


@pytest.mark.parametrize("order", ["as written", "backwards"])
@pytest.mark.parametrize("runner", ["pytest-django", "manage.py test"])
def test_the_tests_of_a_project(order: str, runner: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "data/media").mkdir(parents=True)
    (tmp_path / "data/media/a.txt").write_text("of the developer")
    (code / "settings_of_tests.py").write_text(SETTINGS)
    (code / "site_of_tests.py").write_text(SITE)
    (code / "test_media.py").write_text(TESTS)
    (code / "pytest.ini").write_text("[pytest]\n")
    (code / "conftest.py").write_text(
        "def pytest_collection_modifyitems(items):\n    items.reverse()\n"
        if order == "backwards"
        else ""
    )
    if runner == "pytest-django":
        command = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    else:
        command = ["django", "test", *["--reverse"] * (order == "backwards")]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=code,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "settings_of_tests",
            "PYTHONPATH": os.pathsep.join([str(code), str(ROOT)]),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expected = "5 passed" if runner == "pytest-django" else "Ran 3 tests"
    assert expected in done.stdout + done.stderr
    # No test has touched the developer's own files.
    assert (tmp_path / "data/media/a.txt").read_text() == "of the developer"
    assert [*(tmp_path / "data/media").iterdir()] == [tmp_path / "data/media/a.txt"]
