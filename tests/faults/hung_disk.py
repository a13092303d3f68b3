"""The middleware with two locations, one of them on a file system that will hang."""

import os
from pathlib import Path

from media_asgi import Location, MediaMiddleware

from .apps import OPTIONS, ROOT, application

media = MediaMiddleware(
    application,
    Location(url="/hung/", root=Path(os.environ["FAULTS_HUNG"])),
    Location(url="/hung-private/", root=Path(os.environ["FAULTS_HUNG"]), access="internal"),
    Location(url="/media/", root=ROOT),
    **OPTIONS,
)
