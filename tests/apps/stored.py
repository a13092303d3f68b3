"""The middleware with the storage that the environment describes, as a Django project has it."""

import json
import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a secret of the tests",
    MEDIA_URL="/media/",
    STORAGES={"default": json.loads(os.environ["MEDIA_STORAGE"])},
    ALLOWED_HOSTS=["*"],
)
django.setup()

from media_asgi import DiskCache, Location, MediaMiddleware  # noqa: E402

from .inner import application as inner  # noqa: E402

options = json.loads(os.environ["MEDIA_LOCATION"])
if path := os.environ.get("MEDIA_CACHE"):
    options["cache"] = DiskCache(path, max_size=100_000_000)
application = MediaMiddleware(inner, Location.storage("default", **options))
