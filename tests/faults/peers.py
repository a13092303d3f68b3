"""What others serve media with today, to see that a test can fail."""

from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles

from .apps import ROOT, application

starlette = Router([Mount("/media", StaticFiles(directory=ROOT)), Mount("/", application)])
