"""The signal ``file_sent``."""

import asyncio
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.dispatch import Signal

file_sent = Signal()
"""Sent after a download has ended: an answer with the bytes of a file, 200 or 206.

Receivers are sync or async. The sender is the class ``Location``, or ``FileResponseMiddleware`` for
a file that the application has opened. The arguments:

``location``: the ``Location``; ``None`` for the application's file. ``path``: that of the file,
below the root; the application's file has an absolute one, or an empty one if it has not a name.

``status``: 200 or 206. ``bytes_sent``: bytes of the body that went out. The client may not have
received the last of them. ``complete``: was that all of them? ``seconds``: how long it took.

``user``: the user whom a predicate asked for. With ``FileResponseMiddleware`` also the user whom
the application asked for, before it answered with a file or handed one over. Or ``None``.
"""


_running: set[asyncio.Task[None]] = set()


async def send_file_sent(sender: type, **arguments: Any) -> None:
    """Call the receivers. Django logs their exceptions."""
    # Django and Daphne cancel what still runs for a client that has gone. The receivers go on.
    task = asyncio.ensure_future(_call_receivers(sender, arguments))
    _running.add(task)  # a loop holds tasks weakly
    task.add_done_callback(_running.discard)
    await asyncio.shield(task)


async def _call_receivers(sender: type, arguments: dict[str, Any]) -> None:
    # As around a request of Django's: sync receivers and the ORM have a thread of their own. Nobody
    # else would close its connections to the database.
    async with ThreadSensitiveContext():
        await file_sent.asend_robust(sender, **arguments)
        if settings.configured:
            await sync_to_async(close_old_connections)()
