"""The middleware with the locations and the options that the environment names."""

import json
import os

from media_asgi import Location, MediaMiddleware

from .inner import application as inner

application = MediaMiddleware(
    inner,
    *[Location(**options) for options in json.loads(os.environ["MEDIA_LOCATIONS"])],
    **json.loads(os.environ["MEDIA_MIDDLEWARE"]),
)
