"""
``"media_asgi"`` in ``INSTALLED_APPS`` adds the system checks. It also makes ``runserver`` reload
when the module of ``ASGI_APPLICATION`` changes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register
from django.utils.autoreload import BaseReloader, autoreload_started

from .checks import check_deployment, check_project


class MediaAsgiConfig(AppConfig):
    name = "media_asgi"
    verbose_name = "media-asgi"

    def ready(self) -> None:
        register(check_project, "media_asgi")
        register(check_deployment, "media_asgi", deploy=True)
        autoreload_started.connect(_watch_application)


def _watch_application(sender: BaseReloader, **_: Any) -> None:
    """Make Django's reloader watch the application's module, asgi.py.

    If asgi.py fails to import, the reloader watches only the file that raised. For an invalid
    option that is a file of this package, so a correction of asgi.py would not be seen.
    """
    module = str(getattr(settings, "ASGI_APPLICATION", None) or "").rpartition(".")[0]
    try:
        spec = find_spec(module)
    except Exception:  # the module or its package can't be imported, which a check reports
        return
    if spec is not None and spec.has_location and spec.origin:
        path = Path(spec.origin)
        sender.watch_dir(path.parent, path.name)
