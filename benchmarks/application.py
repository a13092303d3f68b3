"""What the server processes import: a Django project, inside the contender that is asked for."""

import os
from pathlib import Path
from typing import cast

from django.conf import settings

ROOT = Path(os.environ["MEDIA_BENCHMARK_ROOT"])

settings.configure(
    ALLOWED_HOSTS=["*"],
    MEDIA_ROOT=ROOT,
    MEDIA_URL="/media/",
    ROOT_URLCONF=__name__,
    SECRET_KEY="for nothing but the benchmark",
)

# Django wants its settings first.
import django  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.static import serve  # noqa: E402

from benchmarks.contenders import CONTENDERS, Application  # noqa: E402

CONTENDER = CONTENDERS[os.environ["MEDIA_BENCHMARK_CONTENDER"]]


async def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page", content_type="text/plain")


urlpatterns = [path("page/", page)]
# Only where it is the contender: for all others a 200 proves that it was they who answered.
if CONTENDER.name == "django":
    urlpatterns.append(path("media/<path:path>", serve, {"document_root": ROOT}))

django.setup()
application = CONTENDER.build(cast(Application, get_asgi_application()), ROOT)
