"""
The clients of object stores: their time-outs, and the process that they belong to.
"""

import atexit
import os
import time
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from .base import SourceUnreachableError

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store
except ImportError as error:
    raise ImproperlyConfigured(
        "Files of an object store need obstore. Install it: pip install 'media-asgi[objects]'."
    ) from error

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["BaseError", "obstore"]  # for the modules that need the sentence above, too

STORES: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}

# obstore counts its ``timeout`` (30 s) over the whole body, at the client's pace.
CLIENT_OPTIONS = {"timeout": "1d", "read_timeout": "20s", "connect_timeout": "5s"}

# obstore resumes a dropped answer without a condition, and compares the tags alone. It does so as
# often as it may try a request again. So both are done here.
RETRY_CONFIG = {"max_retries": 0}


def config_of(store: Any) -> dict[str, Any]:
    try:
        return getattr(store, "config", {})
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ImproperlyConfigured(
            f"source has {store!r}, whose configuration obstore can't tell. Give options of its "
            "HTTP client, such as allow_http, as client_options={'allow_http': True}."
        ) from None


def patient(store: "ObjectStore") -> "ObjectStore":
    """A store of the project's own, with our time-outs where it has none."""
    if not isinstance(store, S3Store | GCSStore | AzureStore):
        return store
    given: Any = store.client_options or {}
    if store.retry_config and given.keys() >= CLIENT_OPTIONS.keys():
        return store
    # Without its prefix obstore doesn't take each name of S3's that it gives.
    before = "aws_" if isinstance(store, S3Store) else ""
    kind: Any = type(store)
    made: ObjectStore = kind(
        prefix=store.prefix,
        config={before + name: value for name, value in config_of(store).items()},
        client_options={**CLIENT_OPTIONS, **given},
        retry_config=store.retry_config or RETRY_CONFIG,
        credential_provider=store.credential_provider,
    )
    return made


_process: int | None = None
"""The one that has asked a store."""


def enter_process() -> None:
    global _process
    current = os.getpid()
    if _process == current:
        return
    if _process is not None:
        # obstore's threads are not in a forked child: each call would wait for ever.
        raise SourceUnreachableError(
            "a store was asked before this process was forked. Ask none before the fork."
        )
    _process = current
    # A process that ends within milliseconds of a call dies by SIGABRT: a thread of obstore's calls
    # into an interpreter that is gone.
    atexit.register(time.sleep, 0.05)
