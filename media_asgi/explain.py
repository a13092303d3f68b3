"""
Why a client gets 403 or 404: a line at DEBUG level, and with ``DEBUG`` a page as Django has it.
"""

import functools
import logging
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from django.template import Context, Engine, Template

from .conf import django_setting
from .http.headers import pick

logger = logging.getLogger("media_asgi")

_ACCEPT = frozenset({b"accept"})


class Why(NamedTuple):
    reason: str
    file: str = ""
    """On the disk or in the store. Empty if access is refused, which tells nothing of a file."""


def wants_html(headers: Collection[tuple[bytes, bytes]]) -> bool:
    """Is a page of use? Browsers name HTML when they open a page, and not for a picture."""
    return b"text/html" in pick(headers, _ACCEPT).get(b"accept", b"").lower()


def explain(
    status: int, headers: Collection[tuple[bytes, bytes]], path: str, location: str, why: Why
) -> bytes | None:
    """Log the reason, and make the page if ``DEBUG`` is on and the client accepts HTML."""
    # As it is, a name could forge a line for fail2ban.
    file = f" ({why.file!r})" if why.file else ""
    logger.debug("%r: %d by the location %r: %s%s", path, status, location, why.reason, file)
    if not django_setting("DEBUG") or not wants_html(headers):
        return None
    names = {"status": status, "phrase": HTTPStatus(status).phrase, "path": path}
    page = _template().render(Context({**names, "location": location, **why._asdict()}))
    return page.encode("utf-8", "backslashreplace")  # a name may not be UTF-8


@functools.cache
def _template() -> Template:
    # An engine of its own, as Django's debug pages have: the project's may be another one.
    return Engine().from_string(Path(__file__).with_name("explain.html").read_text("utf-8"))
