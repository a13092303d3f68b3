"""What an error of obstore means: told by its class, and where that says nothing by its text."""

import re

from obstore.exceptions import NotSupportedError, PermissionDeniedError, PreconditionError

from .base import (
    FileMissingError,
    SourceBusyError,
    SourceError,
    SourceTimeoutError,
    SourceUnreachableError,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})

# Of a store of S3's, Google's or Azure's; and of a plain web server.
_NO_RANGES = re.compile(r"non-partial response|Range request not supported")

# Azurite answers 206 for a range that starts at the end.
_NO_RANGE = re.compile(r"CONTENT_RANGE|Wanted range starting at")


class RangeError(SourceError):
    """The store can't give this range, and may have the object."""


class NoRangesError(RangeError):
    """The store answers a range with the whole object, as a plain web server may."""


class ChangedError(SourceError):
    """The object is another one by now."""


class NoAnswerError(SourceUnreachableError):
    """The connection was refused, or ended before an answer."""


class DeniedError(SourceUnreachableError):
    """The store gives the credentials no access to the object, which may be missing.

    ``code``: what the store calls it, if it does.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def translated(error: Exception) -> SourceError:
    """What an error of obstore means. Its text is for the log."""
    status, code, text = _told(error)
    if isinstance(error, FileNotFoundError):
        return SourceUnreachableError(text) if code in _NO_BUCKET else FileMissingError()
    if isinstance(error, PermissionDeniedError) and code in ("AccessDenied", ""):
        return DeniedError(text, code)
    if isinstance(error, PreconditionError):
        return ChangedError(text)
    if _NO_RANGES.search(text):
        return NoRangesError(text)
    # Azure takes no suffix.
    if isinstance(error, NotSupportedError) or status == 416 or _NO_RANGE.search(text):
        return RangeError(text)
    if status == 429 or status >= 500:
        return SourceBusyError(text)
    if "kind: Timeout" in str(error):
        return SourceTimeoutError(text)
    if type(error) is ValueError and "parse path" in text:  # a control character
        return FileMissingError()
    if "HTTP error" in text:
        return NoAnswerError(text)
    return SourceUnreachableError(text)


def _told(error: Exception) -> tuple[int, str, str]:
    """Status, error code and sentence of what the store has answered; 0 and "" if it has not."""
    text = " ".join(str(error).partition("Debug source:")[0].split())
    _, _, answer = text.partition("Server returned")
    status, code = _STATUS.search(answer), _CODE.search(answer)
    # A query may hold a signature.
    text = re.sub(r"\?\S*", "", text)[:500]
    return int(status[1]) if status else 0, code[1] if code else "", f"the store: {text}"
