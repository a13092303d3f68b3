"""Serves Django's uploaded media from any ASGI server."""

from .location import Location
from .middleware import MediaMiddleware

__all__ = ["Location", "MediaMiddleware"]
