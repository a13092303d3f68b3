"""A Django project whose objects are for some only: by hand-over, by signature, by a predicate."""

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

ROOT = os.environ["BUCKET_ROOT"]

settings.configure(SECRET_KEY="x" * 50, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
django.setup()

from media_asgi import Location, MediaMiddleware  # noqa: E402


def hand_over(request: HttpRequest, name: str) -> HttpResponse:
    response = HttpResponse()
    response["X-Accel-Redirect"] = f"/internal/{name}"
    response["Content-Disposition"] = 'attachment; filename="own.bin"'
    return response


def is_ann(request: Any, name: str) -> bool:
    return request.GET.get("user") == "ann" and name.startswith("ann/")


urlpatterns = [path("download/<path:name>", hand_over)]

application = MediaMiddleware(
    get_asgi_application(),
    Location(url="/media/", root=ROOT),
    Location(url="/internal/", root=f"{ROOT}/internal", access="internal"),
    Location(url="/signed/", root=f"{ROOT}/signed", access="signed"),
    Location(url="/asked/", root=f"{ROOT}/asked", access=is_ann),
)
