"""Views that hand files over, with each of the packages that do so, and by hand."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import Context, Template
from django.urls import reverse
from django_downloadview import DownloadResponse, PathDownloadView, StorageDownloadView
from django_downloadview.apache import XSendfileMiddleware, x_sendfile
from django_downloadview.nginx import XAccelRedirectMiddleware, x_accel_redirect
from django_sendfile import sendfile

from .models import Report

OWN_BODY = "the application's own body"


def answer(request: HttpRequest) -> HttpResponse:
    """What the query asks for: headers ("Name: value"), status and type."""
    content_type = request.GET.get("type")
    response = HttpResponse(
        OWN_BODY, status=int(request.GET.get("status", 200)), content_type=content_type
    )
    for header in request.GET.getlist("header"):
        name, _, value = header.partition(": ")
        response[name] = value
    for header in request.GET.getlist("bytes"):
        name, _, value = header.partition(": ")
        response[name] = value.encode()
    if cookie := request.GET.get("cookie"):
        response.set_cookie("a", cookie)
        response.set_cookie("b", cookie)
    return response


async def answer_later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(float(request.GET.get("after", 0)))
    return answer(request)


def sent(request: HttpRequest) -> HttpResponse:
    """By django-sendfile2, with the backend that the settings name."""
    options: dict[str, Any] = {"attachment": "attachment" in request.GET}
    if "name" in request.GET:
        options["attachment_filename"] = request.GET["name"]
    if "type" in request.GET:
        options["mimetype"] = request.GET["type"]
    return sendfile(request, Path(settings.SENDFILE_ROOT, request.GET["path"]), **options)


async def sent_later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return sent(request)


class Download(PathDownloadView):
    def get_path(self) -> str:
        return str(settings.SENDFILE_ROOT / self.request.GET["path"])


class StoredDownload(StorageDownloadView):
    """``SmartDownloadMiddleware`` finds its response by the URL that the storage gives it."""

    storage = FileSystemStorage(settings.SENDFILE_ROOT, "/stored/")

    def get_path(self) -> str:
        return self.request.GET["path"]


_TO_NGINX = {"source_dir": str(settings.SENDFILE_ROOT), "destination_url": "/protected/"}
_TO_APACHE = {
    "source_dir": str(settings.SENDFILE_ROOT),
    "destination_dir": str(settings.SENDFILE_ROOT),
}
download_by_nginx = x_accel_redirect(Download.as_view(), limit_rate=0, **_TO_NGINX)
download_by_apache = x_sendfile(Download.as_view(), **_TO_APACHE)


async def download_later(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    path = settings.SENDFILE_ROOT / request.GET["path"]
    response = DownloadResponse(File(path.open("rb")), attachment="inline" not in request.GET)
    middleware = (
        XSendfileMiddleware(**_TO_APACHE)
        if "apache" in request.GET
        else XAccelRedirectMiddleware(**_TO_NGINX)
    )
    return middleware.process_response(request, response)


allowed = asyncio.Event()


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Its second part waits until another request allows it."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"part 0\n"
        await allowed.wait()
        allowed.clear()
        yield b"part 1\n"

    return StreamingHttpResponse(parts(), headers={"X-Own": "1"})


async def allow(request: HttpRequest) -> HttpResponse:
    allowed.set()
    return HttpResponse(status=204)


def enter(request: HttpRequest) -> HttpResponse:
    user = authenticate(
        request, username=request.GET["name"], password=request.GET.get("password", "right")
    )
    if user is None:
        return HttpResponse(status=401)
    login(request, user)
    return HttpResponse(status=204)


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse(status=204)


def own(request: HttpRequest) -> HttpResponse:
    """A page of one's own documents, which are handed over."""
    if not request.user.is_authenticated:
        return HttpResponse("log in", status=401)
    if not request.GET["path"].startswith(f"{request.user.username}/"):
        return HttpResponse("not yours", status=403)
    return sent(request)


def own_file(request: HttpRequest) -> FileResponse:
    """A document that the view opens, and its user is asked for."""
    path = settings.SENDFILE_ROOT / request.user.username / request.GET["path"]
    return FileResponse(open(path, "rb"))


def reports(request: HttpRequest) -> HttpResponse:
    """A page as templates make it."""
    page = Template("{% for one in reports %}{{ one.file.url }}\n{% endfor %}")
    return HttpResponse(
        page.render(Context({"reports": Report.objects.order_by("pk")}, autoescape=False))
    )


def add_report(request: HttpRequest) -> JsonResponse:
    """A report with the request's body for a file."""
    from django.core.files.base import ContentFile

    report = Report()
    report.file.save(request.GET["name"], ContentFile(request.body))
    return JsonResponse({"name": report.file.name, "page": reverse("reports")})


def sign(request: HttpRequest) -> HttpResponse:
    from media_asgi.signing import sign_url

    return HttpResponse(sign_url(request.GET["url"], expires_in=60))
