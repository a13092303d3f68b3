"""``"media_asgi"`` in ``INSTALLED_APPS`` adds the system checks, and has ``runserver`` see each
change of the application's module."""

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
    """Of a module that can't be imported Django watches only the file that raised, which for a
    wrong option is the package's own: to correct the option would change nothing."""
    module = str(getattr(settings, "ASGI_APPLICATION", None) or "").rpartition(".")[0]
    try:
        spec = find_spec(module)
    except Exception:  # of a package above it, or there is no such module: a check tells
        return
    if spec is not None and spec.has_location and spec.origin:
        path = Path(spec.origin)
        sender.watch_dir(path.parent, path.name)
