"""The signal ``file_sent``."""

from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.db import close_old_connections
from django.dispatch import Signal

file_sent = Signal()
"""Sent after a download has ended: a GET whose answer was a file of a location, 200 or 206.

Receivers are sync or async. The sender is the class ``Location``. The arguments:

``location``: the ``Location``. ``path``: that of the file, below the root. ``status``: 200 or 206.

``bytes_sent``: bytes of the body that went out. The client may not have received the last of them.
``complete``: was that all of them? ``seconds``: how long it took.

``user``: the user whom a predicate asked for, or ``None``.
"""


async def send_file_sent(sender: type, **arguments: Any) -> None:
    """Call the receivers. Django logs their exceptions."""
    # As around a request of Django's: sync receivers and the ORM have a thread of their own. Nobody
    # else would close its connections to the database.
    async with ThreadSensitiveContext():
        await file_sent.asend_robust(sender, **arguments)
        if settings.configured:
            await sync_to_async(close_old_connections)()
