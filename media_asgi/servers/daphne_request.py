"""Recognises Daphne by its requests, and finds its root path."""

import asyncio
import sys
from functools import cache, partial
from typing import Any

from ..types import Scope, Send


def request_of(send: Send) -> Any:
    """Twisted's request that ``send`` answers, or ``None`` if this is not Daphne's own ``send``."""
    if type(send) is not partial or len(send.args) != 1:
        return None
    request = send.args[0]
    kind: type = type(request)
    return request if _is_request(kind) else None


@cache
def _is_request(kind: type) -> bool:
    return all(
        callable(getattr(kind, name, None))
        for name in ("registerProducer", "unregisterProducer", "notifyFinish", "write")
    )


def root_path(scope: Scope, send: Send) -> str:
    """The mount point that the server, or an application around us, has set.

    Daphne's ``scope["root_path"]`` may come from the client: Daphne takes the request's header
    ``Daphne-Root-Path``, empty or not, in place of its own option. Only the option counts. If
    something has wrapped ``send``, the option is out of reach, and nothing counts.
    """
    if (request := request_of(send)) is not None:
        return getattr(getattr(request, "server", None), "root_path", None) or ""
    given: str = scope.get("root_path") or ""
    return "" if given and is_running() else given


def is_running() -> bool:
    """Does Daphne serve here?"""
    # "daphne" may be an installed app while another server runs. Only Daphne runs this loop.
    loop = getattr(sys.modules.get("daphne.server"), "twisted_loop", None)
    return loop is not None and loop is asyncio.get_running_loop()
