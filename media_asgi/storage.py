"""Django storages whose URLs lead to the middleware, signed where that is asked for."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.storage import FileSystemStorage
from django.utils.encoding import filepath_to_uri

from .conf_urls import own_host
from .signing import Seconds, check_download, seconds, sign_url

Download = str | bool | None
Host = str | Callable[[], str] | None


class _Links:
    """The options of signed links, and the links."""

    signed = True
    base_url: Any

    def _set_links(
        self,
        base_url: str | None,
        host: Host,
        expires_in: Seconds,
        window: Seconds,
        download: Download | Callable[[str], Download],
    ) -> None:
        name = type(self).__name__
        try:
            seconds("expires_in", expires_in)
            seconds("window", window, or_zero=True)
            if not callable(download):
                check_download(download)
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {error}") from error
        if isinstance(base_url, str) and not base_url.startswith(("/", "http://", "https://")):
            raise ImproperlyConfigured(
                f"{name}: base_url is {base_url!r}. The file that a link names would "
                'depend on the page it is on. Give a path such as "/private/", or a full URL.'
            )
        self.host = host
        self._expires_in = expires_in
        self._window = window
        self._download = download

    def _link(
        self, url: str, name: str | None, expires_in: Seconds | None, download: Download
    ) -> str:
        """``url``, signed if that is asked for."""
        base_url = str(self.base_url)
        # A name such as "../reports/a.pdf" would be a link to a file of another location.
        if not url.startswith(base_url):
            raise SuspiciousFileOperation(f"{name!r} is not a name below {base_url!r}.")
        if not self.signed:
            return url
        if download is None:
            download = self._download(name or "") if callable(self._download) else self._download
        return sign_url(
            url,
            expires_in=self._expires_in if expires_in is None else expires_in,
            window=self._window,
            download=download,
            host=self.host() if callable(self.host) else self.host or own_host(base_url),
        )


class ServedStorage(_Links):
    """A mixin for a storage whose files ``Location.storage()`` serves: its ``url()`` leads there.

    ``class MediaStorage(ServedStorage, S3Storage): pass``. Of itself such a storage gives the
    address of its store, which passes the middleware by. These options are added to its own:

    ``base_url``: by default ``MEDIA_URL``.

    ``signed``: sign the links, and let ``Location.storage()`` serve signed ones alone. By default
    ``False``. ``host``, ``expires_in``, ``window`` and ``download`` are as of
    ``SignedMediaStorage``.

    Raises ``ImproperlyConfigured`` if an option is invalid.
    """

    def __init__(
        self,
        *arguments: Any,
        base_url: str | None = None,
        signed: bool = False,
        host: Host = None,
        expires_in: Seconds = 3600,
        window: Seconds = 0,
        download: Download | Callable[[str], Download] = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._set_links(base_url, host, expires_in, window, download)
        self._base_url = base_url
        self.signed = signed

    @property
    def base_url(self) -> str:
        url = settings.MEDIA_URL if self._base_url is None else self._base_url
        return url if url.endswith("/") else f"{url}/"

    def url(
        self,
        name: str | None,
        *arguments: Any,
        expires_in: Seconds | None = None,
        download: Download = None,
        **options: Any,
    ) -> str:
        """A link to the file ``name``. What only the storage's own ``url()`` knows is ignored."""
        url = urljoin(self.base_url, filepath_to_uri(name or "").lstrip("/"))
        return self._link(url, name, expires_in, download)


class SignedMediaStorage(_Links, FileSystemStorage):
    """A ``FileSystemStorage`` whose ``url()`` returns links for ``Location(access="signed")``.

    ``location``, ``base_url``: the folder and its URL, by default ``MEDIA_ROOT`` and ``MEDIA_URL``.
    The other options of Django's ``FileSystemStorage`` are taken too.

    ``expires_in`` and ``window`` are those of ``sign_url``, by default 3600 and 0.

    ``host``: the host of a location with the option ``host``, for which its links are signed; or a
    callable that returns it. By default the host of a ``base_url`` whose path is ``/``, else
    ``None``.

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
        host: Host = None,
        expires_in: Seconds = 3600,
        window: Seconds = 0,
        download: Download | Callable[[str], Download] = False,
        **options: Any,
    ) -> None:
        super().__init__(location, base_url, **options)
        self._set_links(base_url, host, expires_in, window, download)

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
        return self._link(super().url(name), name, expires_in, download)
