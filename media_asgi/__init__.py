"""Serves Django's uploaded media from any ASGI server."""

from .location import Location
from .middleware import MediaMiddleware
from .sources.disk_cache import DiskCache

__all__ = ["DiskCache", "Location", "MediaMiddleware"]
