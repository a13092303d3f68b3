"""What the server processes import: a Django project, inside the contender that is asked for."""

import gc
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
inner = cast(Application, get_asgi_application())

# For the soak alone: another layer would count against the package elsewhere.
if "MEDIA_BENCHMARK_PRIVATE" in os.environ and CONTENDER.name == "package":
    from media_asgi import Location, MediaMiddleware
    from media_asgi.signing import sign_url

    async def hand_over(request: HttpRequest, name: str) -> HttpResponse:
        return HttpResponse(headers={"X-Accel-Redirect": f"/internal/{name}"})

    async def sign(request: HttpRequest, name: str) -> HttpResponse:
        return HttpResponse(sign_url(f"/signed/{name}"))

    urlpatterns += [path("hand-over/<name>", hand_over), path("sign/<name>", sign)]
    inner = MediaMiddleware(
        inner,
        Location(url="/internal/", root=ROOT, access="internal"),
        Location(url="/signed/", root=ROOT, access="signed"),
    )

application = CONTENDER.build(inner, ROOT)

# What is loaded stays. Else a full collection of Python's garbage, of 35 to 90 ms, falls into some
# measurements of each contender.
gc.collect()
gc.freeze()
