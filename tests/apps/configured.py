"""The middleware as a Django project has it, with the settings that the environment names."""

import json
import os

from django.conf import settings

from media_asgi import MediaMiddleware

from .inner import application as inner

settings.configure(**json.loads(os.environ["MEDIA_SETTINGS"]))

application = MediaMiddleware(inner)
