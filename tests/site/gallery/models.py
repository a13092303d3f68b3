import mimetypes
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.db import models


def protected() -> Storage:
    return storages["protected"]


def shared() -> Storage:
    return storages["shared"]


class Titled(models.Model):
    """A file with a title. Which storage it lies in says who may see it."""

    file: models.FileField

    title = models.CharField(max_length=200, blank=True, help_text="if empty, the file's name")
    uploaded = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        ordering = ("-uploaded", "-pk")

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.title = self.title or self.name[:200]
        super().save(*args, **kwargs)

    @property
    def name(self) -> str:
        return PurePosixPath(self.file.name or "").name

    @property
    def extension(self) -> str:
        return PurePosixPath(self.name).suffix[1:] or "file"

    @property
    def kind(self) -> str:
        """Which element of the page shows it."""
        content_type = mimetypes.guess_type(self.name)[0] or ""
        if content_type == "application/pdf":
            return "pdf"
        kind = content_type.partition("/")[0]
        return kind if kind in ("image", "video", "audio") else "file"

    @property
    def size(self) -> int | None:
        try:
            return self.file.size
        except FileNotFoundError:
            return None


class Upload(Titled):
    """For everybody."""

    file = models.FileField(upload_to="uploads/", max_length=255)


class Document(Titled):
    """For its owner, and for staff."""

    file = models.FileField(storage=protected, upload_to="uploads/", max_length=255)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    def may_be_seen_by(self, user: Any) -> bool:
        return user.is_staff or user == self.owner


class Shared(Titled):
    """For whoever has a link, until that expires."""

    file = models.FileField(storage=shared, upload_to="uploads/", max_length=255)

    class Meta(Titled.Meta):
        verbose_name_plural = "shared files"
