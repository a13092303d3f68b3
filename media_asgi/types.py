"""The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Any, because the types of frameworks differ: the scope is a dict to Django, any mapping to
# Starlette and one of several typed dicts to asgiref. None of them takes the scope of another.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

CallApp = Callable[..., Awaitable[None]]
"""Calls the application with a scope, ``receive`` and ``send``, and sends the files of its answer.

A fourth argument gets the application, and returns what is called in its place.
"""

Headers = list[tuple[bytes, bytes]]
"""Header fields; names are in lower case."""
