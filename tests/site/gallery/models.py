import mimetypes
from pathlib import PurePosixPath
from typing import Any

from django.db import models


class Upload(models.Model):
    file = models.FileField(upload_to="uploads/", max_length=255)
    title = models.CharField(max_length=200, blank=True, help_text="if empty, the file's name")
    uploaded = models.DateTimeField(auto_now_add=True)

    class Meta:
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
