"""What the server processes of the part `objects` import: a Django project over a bucket."""

import os
from pathlib import Path
from typing import cast

from django.conf import settings

CONTENDER = os.environ["MEDIA_BENCHMARK_CONTENDER"]
ROOT = Path(os.environ["MEDIA_BENCHMARK_ROOT"])

settings.configure(
    ALLOWED_HOSTS=["*"],
    MEDIA_URL="/media/",
    ROOT_URLCONF=__name__,
    SECRET_KEY="for nothing but the benchmark",
    STORAGES={
        "default": {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": "media",
                "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
                "access_key": os.environ["AWS_ACCESS_KEY_ID"],
                "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"],
                "region_name": os.environ["AWS_REGION"],
            },
        }
    },
)

# Django wants its settings first.
import django  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.files.storage import default_storage  # noqa: E402
from django.http import FileResponse, HttpRequest  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.contenders import Application  # noqa: E402


def serve(request: HttpRequest, name: str) -> FileResponse:
    return FileResponse(default_storage.open(name))


urlpatterns = [path("media/<path:name>", serve)] if CONTENDER == "django" else []

django.setup()
application = cast(Application, get_asgi_application())

if CONTENDER != "django":
    from media_asgi import DiskCache, Location, MediaMiddleware

    if CONTENDER == "folder":
        location = Location(url="/media/", root=ROOT)
    elif CONTENDER == "cached":
        cache = DiskCache(os.environ["MEDIA_BENCHMARK_CACHE"], 2**30, max_object=2**28)
        location = Location.storage("default", cache=cache)
    else:
        location = Location.storage("default")
    application = MediaMiddleware(application, location)
