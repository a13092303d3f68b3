from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import authenticate, login
from django.contrib.auth.decorators import login_not_required, login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django_otp import login as login_verified
from django_otp.plugins.otp_static.models import StaticDevice


@login_not_required
def enter(request: HttpRequest) -> HttpResponse:
    if "name" not in request.GET:
        return HttpResponse("the form")
    user = authenticate(request, username=request.GET["name"], password="right")
    login(request, user)
    if "verified" in request.GET:
        login_verified(request, StaticDevice.objects.get(user=user))
    return HttpResponse(status=204)


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.username)


@login_not_required
def cms(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse(f"cms: {slug}")


@login_not_required
def sends(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={"X-Accel-Redirect": request.GET["to"]})


def not_found(request: HttpRequest, exception: Any) -> JsonResponse:
    return JsonResponse({"handler404": str(exception), "path": request.path}, status=404)


def bad_request(request: HttpRequest, exception: Any) -> JsonResponse:
    return JsonResponse({"handler400": str(exception)}, status=400)


def server_error(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"handler500": request.path}, status=500)


handler404 = "tests.real.asked.urls.not_found"
handler400 = "tests.real.asked.urls.bad_request"
handler500 = "tests.real.asked.urls.server_error"

urlpatterns = [
    path("sends/", sends),
    path("sends/through/", sends),
    path("who/", who),  # and a location falls through to it
    path("whoami/", who),
    *i18n_patterns(
        path("log-in/", enter, name="log-in"),
        path("page/", page),
        path("<path:slug>", cms),
    ),
    # As django-cms has it.
    path("<path:slug>/", cms),
]
