"""
The objects of a bucket: S3 and what speaks like it, Google Cloud Storage, Azure.

One round trip for a whole object or one range: the response to a GET holds size, tag and date, too.
Every later GET of the same answer is bound to the tag of the first one, so that no answer holds
bytes of two versions.
"""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from .base import (
    FileMissingError,
    SourceBusyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
    Wanted,
)
from .object_clients import STORES, config_of, enter_process, obstore, patient
from .object_errors import (
    ChangedError,
    DeniedError,
    NoAnswerError,
    NoRangesError,
    RangeError,
    translated,
)
from .object_file import ObjectFile

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

logger = logging.getLogger("media_asgi")

# After no answer, or one that says to come again, wait so long before each try. Seconds.
_RETRIES = (0.1, 0.3)

# No answer takes longer: tries, waits between them and new credentials included. Seconds.
_PATIENCE = 90.0

# S3, Google Cloud Storage and Azure have no longer keys. Azure counts characters, the others bytes.
_LONGEST_KEY = 1024

# So many objects are known to be given as a whole alone.
_MAX_KNOWN = 1024

# What the stores' clients count with.
_MOST = 2**63 - 1

# What tells two buckets of one name apart: of a store's configuration, and of the environment,
# which obstore reads too. (China's and the government's regions of AWS have names of their own.)
_PLACE = ("account_name", "endpoint", "endpoint_url_s3", "base_url", "region")
_READ = (
    *("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"),
)

# Azure takes a backslash in a name for a slash.
_SEPARATOR = re.compile(r"[/\\]")
_NOT_IN_A_KEY = frozenset({"", ".", ".."})


class ObjectSource:
    """The objects of a store whose keys begin with ``prefix`` and a slash.

    ``store``: one of obstore's, or a callable without arguments that makes one. It is called at the
    first request, in the process that serves.

    A store's own ``retry_config`` is kept. Then obstore resumes a dropped answer too, and compares
    the tags alone: of a store that gives two versions one tag, an answer may hold both.
    """

    def __init__(self, store: "ObjectStore | Callable[[], ObjectStore]", prefix: str = "") -> None:
        if not callable(store):
            config_of(store)
        self._given = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if self._prefix and not _NOT_IN_A_KEY.isdisjoint(_SEPARATOR.split(self._prefix[:-1])):
            raise ImproperlyConfigured(
                f"the prefix of a bucket is {prefix!r}, below which no object is served: it has an "
                'empty segment, a "." or a "..". Leave that out.'
            )
        self._has_told = False
        self._without_ranges: dict[str, None] = {}
        """Keys of which the store gives no part, so that whole objects are asked for."""

    @cached_property
    def _store(self) -> "ObjectStore":
        """Raises ``SourceError``."""
        given = self._given
        try:
            return patient(given() if callable(given) else given)
        except Exception as error:
            raise translated(error) from error

    def place(self) -> tuple[Hashable, str]:
        """The name of the bucket, and the prefix of the keys in it. Raises ``SourceError``."""
        config = config_of(self._store)
        bucket = config.get("bucket") or config.get("container_name")
        if not bucket:  # a store in memory is itself alone
            return id(self._store), self._prefix
        store: Any = self._store
        own = (store.prefix or "").strip("/")
        return bucket, f"{own}/{self._prefix}" if own else self._prefix

    @cached_property
    def identity(self) -> str:
        """The bucket and the prefix. No other source has the same. Raises ``SourceError``."""
        config = config_of(self._store)
        if not config:
            return secrets.token_hex()
        where = [config.get(name) for name in _PLACE], [os.environ.get(name) for name in _READ]
        return repr((type(self._store).__name__, self.place(), where))

    def version_nowait(self, name: bytes) -> None:
        return None

    def open_nowait(self, name: bytes, wanted: Wanted) -> None:
        return None

    async def open(self, name: bytes, wanted: Wanted) -> ObjectFile:
        key = self._key(name)
        try:
            result, is_head = await self._look(key, wanted)
        except DeniedError as error:
            self._tell_of_denied(key, error)
            raise FileMissingError from None
        except ChangedError as error:
            raise SourceBusyError(str(error)) from error
        return ObjectFile(self.get, key, result, None if is_head else result, self._without_ranges)

    async def get(self, key: str, **options: Any) -> "GetResult":
        """Raises ``SourceError``."""
        enter_process()
        try:
            async with asyncio.timeout(_PATIENCE):
                for pause in _RETRIES:
                    try:
                        return await self._get(key, options)
                    except (NoAnswerError, SourceBusyError):
                        await asyncio.sleep(pause)
                return await self._get(key, options)
        except TimeoutError:
            raise SourceTimeoutError(f"the store has not answered for {_PATIENCE:g} s") from None
        except NoAnswerError as error:
            raise SourceUnreachableError(str(error)) from error
        except NoRangesError:
            self._without_ranges[key] = None
            if len(self._without_ranges) > _MAX_KNOWN:
                del self._without_ranges[next(iter(self._without_ranges))]
            raise

    async def _get(self, key: str, options: Any) -> "GetResult":
        store = self._store
        try:
            return await obstore.get_async(store, key, options=options)
        except Exception as error:
            raise translated(error) from error

    async def _look(self, key: str, wanted: Wanted) -> "tuple[GetResult, bool]":
        """A response, and whether it is one without a body."""
        options = _options(wanted)
        if options is not None:
            try:
                return await self.get(key, **options), False
            except RangeError:
                pass  # the size is needed to say so, or the range in another form
        try:
            return await self.get(key, head=True), True
        except DeniedError as error:
            if error.code:
                raise
        # A HEAD has no body that says why (RFC 9110 section 9.3.2).
        return await self.get(key), False

    def _key(self, name: bytes) -> str:
        try:
            key = self._prefix + name.decode()
        except UnicodeDecodeError:
            raise FileMissingError from None
        counted = key if isinstance(self._store, STORES["az"]) else key.encode()
        if len(counted) > _LONGEST_KEY:
            raise FileMissingError
        # The empty key is the bucket's listing. A client drops an empty or a dot segment, or goes
        # up by it, out of the prefix.
        if not _NOT_IN_A_KEY.isdisjoint(_SEPARATOR.split(key)):
            raise FileMissingError
        return key

    def _tell_of_denied(self, key: str, error: SourceError) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning(
                "%r: answered 404, since the store denies access, as it does for a missing object "
                "too where the credentials may not list the bucket. If it is there, let them read "
                "it. The log says so once. %s",
                key,
                error,
            )


def _options(wanted: Wanted) -> dict[str, Any] | None:
    """Those of a GET; ``None`` if a HEAD is to come first."""
    start, stop = wanted.start, wanted.stop
    if start is None:
        return {"range": {"suffix": stop}} if stop and stop <= _MOST else None
    if stop is None:
        return {"range": {"offset": start}} if 0 < start <= _MOST else {} if not start else None
    return {"range": (start, min(stop, _MOST))} if start < min(stop, _MOST) else None
