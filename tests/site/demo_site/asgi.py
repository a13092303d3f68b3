"""The whole of it, for public files: run `daphne demo_site.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

from media_asgi import MediaMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")

application = MediaMiddleware(get_asgi_application())
