"""``"media_asgi"`` in ``INSTALLED_APPS`` adds the system checks, and nothing else."""

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_deployment, check_project


class MediaAsgiConfig(AppConfig):
    name = "media_asgi"
    verbose_name = "media-asgi"

    def ready(self) -> None:
        register(check_project, "media_asgi")
        register(check_deployment, "media_asgi", deploy=True)
