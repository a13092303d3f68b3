"""
Who may have a file: the interface of an access policy, and the two simplest policies.

A new policy is one class here or beside this module. ``access/__init__.py`` names it in ``Access``
and ``ACCESS_POLICIES``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from ..types import Headers, Scope


class HeaderOverrides(NamedTuple):
    """Header fields of a file that one request changes."""

    content_type: bytes | None = None
    cache_control: bytes | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()


class AccessDenied(Exception):
    """The client may not have the file. ``status`` and ``headers`` are those of the response.

    ``reason``: for the log.
    """

    def __init__(
        self, status: int, headers: Headers | None = None, reason: str = "access is refused"
    ) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or []
        self.reason = reason


class LocationOptions(Protocol):
    """The options of a location that policies read."""

    @property
    def url(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def access(self) -> Any: ...
    @property
    def cache_control(self) -> Any: ...
    @property
    def leeway(self) -> Any: ...
    @property
    def login_redirect(self) -> bool: ...


class AccessPolicy:
    """Decides for each request, before a file is opened. This one lets every client in."""

    value: ClassVar[str]
    """The option ``access`` as an error text writes it, such as ``"access='signed'"``."""
    is_public: ClassVar[bool] = False
    """May a shared cache give the files to every client?"""
    answers_clients: ClassVar[bool] = True
    """Do clients reach the location by its URL?"""
    decides_by_url: ClassVar[bool] = False
    """Does the URL alone decide, in the same way in all locations with this policy?

    Then a folder of such a location may lie below the root of another one, which decides alike.
    """
    options: ClassVar[frozenset[str]] = frozenset()
    """The options of a location that only this policy reads."""
    common_headers: ClassVar[Sequence[tuple[bytes, bytes]]] = ()
    """Header fields of every response, errors included."""

    def __init__(self, options: LocationOptions) -> None:
        """Raises ``ImproperlyConfigured`` if an option is invalid."""

    def file_path(self, path: str) -> str:
        """The path of a file below the root. ``path``: that of the URL."""
        return path

    async def authorize(
        self, scope: Scope, path: str, urls: Sequence[str], host: str | None = None
    ) -> HeaderOverrides | None:
        """The changes of the response for a client who may have the file. ``None``: not a change.

        ``scope``: the request's. Its ``root_path`` is the server's, and never one of the client's.

        ``path``: that of the URL, below the root.

        ``urls``: the decoded paths under which clients know the file. The request's is the first.

        ``host``: the request's, if the location answers only some hosts.

        Raises ``AccessDenied``.
        """
        return None


class Public(AccessPolicy):
    """``access="public"``: every client may have the files."""

    value = "access='public'"
    is_public = True


class Internal(AccessPolicy):
    """``access="internal"``: clients don't reach the files. The application hands them over."""

    value = "access='internal'"
    answers_clients = False
