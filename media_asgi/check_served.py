"""
A folder that a location serves, for the system checks.
"""

from typing import NamedTuple

from django.conf import settings

from .conf import is_same
from .location import Location


class ServedFolder(NamedTuple):
    """A folder that a location serves."""

    folder: str
    prefix: str
    host: str
    location: Location | None = None
    """``None`` if the application is not known: then the default location is assumed."""

    @property
    def is_public(self) -> bool:
        return not self.location or self.location.policy.is_public

    @property
    def answers_clients(self) -> bool:
        return not self.location or self.location.policy.answers_clients

    @property
    def is_file(self) -> bool:
        return self.location is not None and bool(self.location.file)

    @property
    def is_media(self) -> bool:
        return bool(settings.MEDIA_ROOT) and is_same(self.folder, settings.MEDIA_ROOT)

    @property
    def root(self) -> str:
        if self.is_media or not self.location:
            return f"MEDIA_ROOT ({self.folder})"
        return f"The root of the location {self.location.url!r} ({self.folder})"

    @property
    def url(self) -> str:
        if not self.location or self.location.url == settings.MEDIA_URL:
            return f"MEDIA_URL ({settings.MEDIA_URL})"
        return f"The location {self.location.url!r}"
