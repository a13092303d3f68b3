"""With Channels: around the router or inside its "http", as you like."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from media_asgi import MediaMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")

django = get_asgi_application()  # first: it loads the apps that consumers import

from gallery.consumers import Live  # noqa: E402

websocket = AuthMiddlewareStack(URLRouter([path("ws/live/", Live.as_asgi())]))

application = MediaMiddleware(ProtocolTypeRouter({"http": django, "websocket": websocket}))

inside = ProtocolTypeRouter({"http": MediaMiddleware(django), "websocket": websocket})
