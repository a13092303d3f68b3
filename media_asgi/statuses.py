"""
The status of every error.
"""

import logging

from .access.base import AccessDenied
from .http.path import is_traversal
from .refusals import log_refused
from .sources.base import (
    FileForbiddenError,
    FileMissingError,
    SourceBusyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)
from .types import Headers, Scope

logger = logging.getLogger("media_asgi")

# The status for an error of a source; 500 for any other.
_STATUS: dict[type[SourceError], int] = {
    FileMissingError: 404,
    FileForbiddenError: 403,
    SourceBusyError: 503,
    SourceUnreachableError: 502,
    SourceTimeoutError: 504,
}


class HTTPError(Exception):
    reason = "a location with a sandbox has no service workers"
    """Of a 403."""

    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


def status_of(error: Exception, scope: Scope) -> tuple[int, Headers]:
    """The status and the headers for an error. The log has the rest."""
    if isinstance(error, HTTPError | AccessDenied):
        return error.status, error.headers
    if isinstance(error, SourceError):
        status = _STATUS.get(type(error), 500)
        if isinstance(error, FileMissingError):
            if reason := error.reason or (is_traversal(scope["path"]) and "the path climbs"):
                log_refused(scope, reason)
        elif status >= 500 and error.is_news:
            logger.error("%r can't be read: %s", scope["path"], error)
        return status, [(b"retry-after", b"1")] if status == 503 else []
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        # asgiref needs a thread to call the predicate.
        logger.error("%r: access can't be asked: %s", scope["path"], error)
        return 503, [(b"retry-after", b"1")]
    # A callable of the location's.
    logger.error("%r: no answer could be made", scope["path"], exc_info=error)
    return 500, []
