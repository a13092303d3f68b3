"""A project's static files, a single file and a site with index files, below one folder.

``python -m tests.apps.static`` runs its ``collectstatic``.
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

from media_asgi import Location, MediaMiddleware

from .inner import application as inner

BASE = Path(os.environ["STATIC_BASE"])

settings.configure(
    INSTALLED_APPS=["django.contrib.staticfiles"],
    STATIC_URL="static/",
    STATIC_ROOT=BASE / "static",
    STATICFILES_DIRS=[BASE / "assets"],
    STORAGES={
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    },
)
django.setup()

application = MediaMiddleware(
    inner,
    Location.static(cors="*"),
    Location(url="/robots.txt", root=BASE / "robots.txt"),
    Location(url="/site/", root=BASE / "site", index="index.html"),
)

if __name__ == "__main__":
    call_command("collectstatic", verbosity=0, interactive=False)
