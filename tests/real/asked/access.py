"""The predicates. Each is the access of a location of its name."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required, permission_required
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import aget_object_or_404, get_object_or_404
from django.template.response import TemplateResponse
from rest_framework.authentication import TokenAuthentication

from media_asgi.access import authenticated

from .models import Doc


def docs(request: Any, path: str) -> bool:
    get_object_or_404(Doc, file=path)
    return True


async def docs_later(request: Any, path: str) -> bool:
    await aget_object_or_404(Doc, file=path)
    return True


def raising(request: Any, path: str) -> bool:
    raise {
        "404": Http404("not here"),
        "403": PermissionDenied("not yours"),
        "400": SuspiciousOperation("odd"),
        "500": RuntimeError("the predicate fails"),
    }[path]


async def raising_later(request: Any, path: str) -> bool:
    await asyncio.sleep(0)
    return raising(request, path)


async def failing() -> AsyncIterator[bytes]:
    yield b"the beginning"
    raise RuntimeError("the stream fails")


def answering(request: Any, path: str) -> Any:
    """A page that asks for a password, and other answers."""
    answers: dict[str, Callable[[], Any]] = {
        "redirect": lambda: HttpResponseRedirect(f"/password/?next={request.path}"),
        "page": lambda: HttpResponse("password?" * 100),
        "template": lambda: TemplateResponse(request, "403.html", status=418),
        "headers": lambda: JsonResponse(dict(request.headers)),
        "hand-over": lambda: HttpResponse(headers={"X-Accel-Redirect": "/internal/known.bin"}),
        "failing": lambda: StreamingHttpResponse(failing()),
        "file": lambda: FileResponse(open(settings.DATA / "files/known.bin", "rb")),  # noqa: SIM115
        "match": lambda: JsonResponse(
            {
                "route": request.resolver_match.route,
                "kwargs": request.resolver_match.kwargs,
                "path": request.path,
                "script": request.META["SCRIPT_NAME"],
            }
        ),
    }
    return answers[path]()


async def answering_later(request: Any, path: str) -> Any:
    return answering(request, path)


async def members(request: Any, path: str) -> bool:
    return (await request.auser()).is_authenticated


def verified(request: Any, path: str) -> bool:
    return request.user.is_verified()


def tenants(request: Any, path: str) -> bool:
    return path.startswith(f"{request.tenant}/")


def sites(request: Any, path: str) -> bool:
    return path.startswith(f"{request.site.domain}/")


def tokens(request: Any, path: str) -> bool:
    return TokenAuthentication().authenticate(request) is not None


def seen(request: Any, path: str) -> bool:
    """Three times, by the session."""
    request.session["seen"] = request.session.get("seen", 0) + 1
    return request.session["seen"] <= 3


def slow(request: Any, path: str) -> bool:
    """Waits in its thread until the test allows it."""
    (settings.DATA / "asking" / request.GET["id"]).touch()
    while not (settings.DATA / "go").exists():
        time.sleep(0.01)
    return True


async def slow_later(request: Any, path: str) -> bool:
    (settings.DATA / "asking" / request.GET["id"]).touch()
    try:
        while not (settings.DATA / "go").exists():  # noqa: ASYNC110, another process makes it
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        print("a predicate is cancelled", flush=True)
        raise
    return True


@login_not_required
def open_to_all(request: Any, path: str) -> bool:
    return True


PREDICATES = {
    "authenticated": authenticated,
    "permitted": permission_required("auth.none", raise_exception=True)(open_to_all),
    **{
        function.__name__.replace("_", "-"): function
        for function in (
            docs,
            docs_later,
            raising,
            raising_later,
            answering,
            answering_later,
            members,
            verified,
            tenants,
            sites,
            tokens,
            seen,
            slow,
            slow_later,
            open_to_all,
        )
    },
}
