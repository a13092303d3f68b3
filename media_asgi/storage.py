"""A Django storage whose URLs are signed and expire."""

import os
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage

from .signing import Seconds, check_download, seconds, sign_url

Download = str | bool | None


class SignedMediaStorage(FileSystemStorage):
    """A ``FileSystemStorage`` whose ``url()`` returns links for ``Location(access="signed")``.

    ``location``, ``base_url``: the folder and its URL, by default ``MEDIA_ROOT`` and ``MEDIA_URL``.
    The other options of Django's ``FileSystemStorage`` are taken too.

    ``expires_in``: seconds above 0, or a ``timedelta``; by default 3600. A link expires after it.

    ``window``: seconds, or a ``timedelta``; by default 0. The end of a link is rounded up to a
    multiple of it. Within this time a page has the same links each time it is rendered, so browsers
    can cache the files.

    ``download``: ``True`` makes browsers save the files instead of showing them. A callable gets
    the name in the storage, and returns the name to save the file under, ``True`` or ``False``. By
    default ``False``.

    Raises ``ImproperlyConfigured`` if an option is invalid.
    """

    def __init__(
        self,
        location: str | os.PathLike[str] | None = None,
        base_url: str | None = None,
        *,
        expires_in: Seconds = 3600,
        window: Seconds = 0,
        download: Download | Callable[[str], Download] = False,
        **options: Any,
    ) -> None:
        super().__init__(location, base_url, **options)
        try:
            seconds("expires_in", expires_in)
            seconds("window", window, or_zero=True)
            if not callable(download):
                check_download(download)
        except ValueError as error:
            raise ImproperlyConfigured(f"SignedMediaStorage: {error}") from error
        if isinstance(base_url, str) and not base_url.startswith(("/", "http://", "https://")):
            raise ImproperlyConfigured(
                f"SignedMediaStorage: base_url is {base_url!r}. The file that a link names would "
                'depend on the page it is on. Give a path such as "/private/", or a full URL.'
            )
        self._expires_in = expires_in
        self._window = window
        self._download = download

    def url(
        self,
        name: str | None,
        *,
        expires_in: Seconds | None = None,
        download: Download = None,
    ) -> str:
        """A link to the file ``name``. An argument that is ``None`` is the storage's option.

        Raises ``ValueError`` if an argument is invalid, and ``SuspiciousFileOperation`` if the name
        leads out of the storage.
        """
        url = super().url(name)
        # A name such as "../reports/a.pdf" would be a link to a file of another location.
        if not url.startswith(str(self.base_url)):
            raise SuspiciousFileOperation(f"{name!r} is not a name below {self.base_url!r}.")
        if download is None:
            download = self._download(name or "") if callable(self._download) else self._download
        return sign_url(
            url,
            expires_in=self._expires_in if expires_in is None else expires_in,
            window=self._window,
            download=download,
        )
