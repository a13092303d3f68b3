"""Wagtail, as `wagtail start` makes it, with the one line: images, documents, private documents."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from ..support.client import Response
from ..support.servers import ROOT, Server
from ..support.site import Browser, Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wagtail")]

SETTINGS = """
from .base import *

SECRET_KEY = "secret"
ALLOWED_HOSTS = ["127.0.0.1"]
"""

ONE_LINE = """
import os

from django.core.asgi import get_asgi_application
from media_asgi import MediaMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.local")
application = MediaMiddleware(get_asgi_application())
"""

# Wagtail hands over through SENDFILE_BACKEND, which names a module with this function.
BACKEND = """
from django.http import HttpResponse

def sendfile(request, filename, **kwargs):
    return HttpResponse(headers={"X-Sendfile": filename})
"""

GUARDED = """
import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from media_asgi import Location, MediaMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.handing_over")
application = MediaMiddleware(
    get_asgi_application(),
    Location.media(),
    Location(
        url="/media/documents/", root=os.path.join(settings.MEDIA_ROOT, "documents"),
        access="internal",
    ),
)
"""

# A collection for those who are logged in, and a user.
PREPARE = """
from django.contrib.auth import get_user_model
from wagtail.models import Collection, CollectionViewRestriction

get_user_model().objects.create_superuser("admin", "admin@example.com", "admin")
private = Collection.get_first_root_node().add_child(name="Private")
CollectionViewRestriction.objects.create(collection=private, restriction_type="login")
print(private.pk)
"""


class Prepared(NamedTuple):
    folder: Path
    private: str
    """The key of the collection for those who are logged in."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("wagtail")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DJANGO_SETTINGS_MODULE": "mysite.settings.local",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    start = "from wagtail.bin.wagtail import main; main()"
    run("-c", start, "start", "mysite", ".")
    settings = folder / "mysite" / "settings"
    (settings / "local.py").write_text(SETTINGS)
    (settings / "handing_over.py").write_text(
        'from .local import *\nSENDFILE_BACKEND = "mysite.sendfile"\n'
    )
    (folder / "mysite" / "sendfile.py").write_text(BACKEND)
    (folder / "mysite" / "asgi.py").write_text(ONE_LINE)
    (folder / "mysite" / "asgi_guarded.py").write_text(GUARDED)
    run("manage.py", "migrate", "--verbosity=0")
    return Prepared(folder, run("manage.py", "shell", "--verbosity=0", "-c", PREPARE).strip())


def serve(prepared: Prepared, application: str) -> Iterator[Site]:
    with Server(
        "daphne",
        application,
        cwd=prepared.folder,
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{prepared.folder}"},
        timeout=120,
    ) as server:
        yield Site(server, prepared.folder / "media")


@pytest.fixture(scope="module")
def site(prepared: Prepared) -> Iterator[Site]:
    yield from serve(prepared, "mysite.asgi:application")


@pytest.fixture(scope="module")
def guarded(prepared: Prepared) -> Iterator[Site]:
    yield from serve(prepared, "mysite.asgi_guarded:application")


def editor(browser: Browser) -> Browser:
    browser.log_in()
    return browser


def add_document(browser: Browser, name: str, data: bytes, collection: str) -> str:
    """Uploads a document as an editor does, and tells its URL."""
    saved = browser.submit(
        "/admin/documents/add/", {"title": name, "collection": collection, "tags": ""}, (name, data)
    )
    assert saved.status == 302, saved.body
    links = re.findall(
        rf'"(/documents/\d+/{name})"', browser.get("/admin/documents/").body.decode()
    )
    assert links
    return str(links[0])


def test_images_and_renditions(site: Site) -> None:
    browser = editor(Browser(site))
    picture = io.BytesIO()
    Image.effect_noise((600, 400), 60).save(picture, "jpeg")
    saved = browser.submit(
        "/admin/images/add/",
        {"title": "Noise", "collection": "1", "tags": ""},
        ("noise.jpg", picture.getvalue()),
    )
    assert saved.status == 302, saved.body
    # The original, which the page for changing it leads to, and the renditions of the listing.
    listing = browser.get("/admin/images/").body.decode()
    rendition = re.search(r'src="(/media/images/noise[^"]+\.jpg)"', listing)
    assert rendition
    made = Browser(site).get(rendition[1])
    assert (made.status, made["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(made.body)) as small:
        assert small.width < 600
    original = Browser(site).get("/media/original_images/noise.jpg")
    assert original.body == picture.getvalue()
    part = Browser(site).get("/media/original_images/noise.jpg", ("Range", "bytes=0-99"))
    assert part.body == original.body[:100]


def test_documents(site: Site) -> None:
    """Wagtail serves them by a view of its own, which has the last word here."""
    link = add_document(editor(Browser(site)), "public.pdf", b"%PDF-1.4 public" * 1000, "1")
    served = Browser(site).get(link)
    assert served.status == 200
    assert served.body == b"%PDF-1.4 public" * 1000
    assert b"public" in Browser(site).get("/media/documents/public.pdf").body


def is_login(response: Response) -> bool:
    return response.status == 302 and "/login/" in response["location"]


def test_private_documents_without_a_guard(site: Site, prepared: Prepared) -> None:
    """What Wagtail's documentation warns of: whoever guesses the file's own URL needs no login."""
    link = add_document(editor(Browser(site)), "open.pdf", b"%PDF-1.4 open", prepared.private)
    assert is_login(Browser(site).get(link))
    assert Browser(site).get("/media/documents/open.pdf").body == b"%PDF-1.4 open"


def test_private_documents(guarded: Site, prepared: Prepared) -> None:
    """With the folder as an internal location the view alone decides, and media-asgi sends."""
    browser, stranger = editor(Browser(guarded)), Browser(guarded)
    data = b"%PDF-1.4 secret" * 10000
    link = add_document(browser, "secret.pdf", data, prepared.private)

    assert is_login(stranger.get(link))
    for path in ("/media/documents/secret.pdf", "/media/./documents/secret.pdf"):
        for who in (stranger, browser):
            refused = who.get(path)
            assert refused.status == 404
            assert b"%PDF" not in refused.body

    served = browser.get(link)
    assert (served.status, served.body) == (200, data)
    assert served["content-type"] == "application/pdf"
    assert served["content-disposition"] == 'inline; filename="secret.pdf"'
    assert served["content-security-policy"] == "default-src 'none'"
    assert served["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in served
    assert "x-sendfile" not in served
    assert "private" in served["cache-control"]
    part = browser.get(link, ("Range", "bytes=10-19"))
    assert (part.status, part.body) == (206, data[10:20])
    assert part["content-range"] == f"bytes 10-19/{len(data)}"
    assert browser.get(link, ("If-None-Match", served["etag"])).status == 304


def test_images_beside_guarded_documents(guarded: Site) -> None:
    picture = io.BytesIO()
    Image.effect_noise((60, 40), 60).save(picture, "png")
    saved = editor(Browser(guarded)).submit(
        "/admin/images/add/",
        {"title": "Small", "collection": "1", "tags": ""},
        ("small.png", picture.getvalue()),
    )
    assert saved.status == 302, saved.body
    assert Browser(guarded).get("/media/original_images/small.png").body == picture.getvalue()
