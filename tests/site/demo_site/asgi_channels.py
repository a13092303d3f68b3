"""With Channels, and with private files: around the router or inside its "http", as you like."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

from media_asgi import Location, MediaMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")

django = get_asgi_application()  # first: it loads the apps that consumers import

from gallery.consumers import Live, Memory  # noqa: E402

websocket = AuthMiddlewareStack(
    URLRouter([path("ws/live/", Live.as_asgi()), path("ws/memory/", Memory.as_asgi())])
)

public = Location.media()
if bucket := os.environ.get("SITE_BUCKET"):  # and what is on the disk alone, from there
    public = Location(url="/media/", root=[f"s3://{bucket}", settings.MEDIA_ROOT])

locations = [
    public,
    Location.storage("protected", access="internal"),  # what views hand over
    # For who has a link that its SignedMediaStorage made. To others it says so in the site's style.
    Location.storage("shared", error_pages=True),
]
if not settings.SITE_WHITENOISE:
    # The options that make it answer as WhiteNoise does.
    locations.append(
        Location.static(cors="*", cache_control="max-age=60, public", error_pages=True)
    )

application = MediaMiddleware(
    ProtocolTypeRouter({"http": django, "websocket": websocket}), *locations
)

inside = ProtocolTypeRouter({"http": MediaMiddleware(django, *locations), "websocket": websocket})
