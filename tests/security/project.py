"""A Django project with the settings that the environment names: pages beside its media."""

import json
import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import path

from media_asgi import MediaMiddleware


class OwnSecurityMiddleware(SecurityMiddleware):
    """A project's own, that is Django's too."""


def page(request: HttpRequest, name: str = "") -> HttpResponse:
    return HttpResponse("a page")


urlpatterns = [path("page/<path:name>", page), path("ready", page)]

settings.configure(
    **{
        "ALLOWED_HOSTS": ["*"],
        "MEDIA_URL": "/media/",
        "ROOT_URLCONF": __name__,
        "SECRET_KEY": "a test's",
        # As Django has it by default, but not on media, whose pages open no window.
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": None,
        **json.loads(os.environ["PROJECT_SETTINGS"]),
    }
)

application = MediaMiddleware(get_asgi_application())
