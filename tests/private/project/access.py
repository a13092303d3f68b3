"""Predicates, one of each kind."""

import asyncio
import functools
from typing import Any

from django.contrib.auth.models import Group


def member(request: Any, path: str) -> bool:
    """Sync, with the session and the user from the database."""
    return request.user.is_authenticated and path.startswith(f"{request.user.username}/")


async def staff(request: Any, path: str) -> bool:
    """Async, with a query of its own."""
    user = await request.auser()
    return user.is_staff and await Group.objects.filter(name="readers", user=user).aexists()


class Listed:
    """An object whose call is sync."""

    def __call__(self, request: Any, path: str) -> bool:
        return request.GET.get("word") == "open"


class ListedLater:
    """An object whose call is async."""

    async def __call__(self, request: Any, path: str) -> bool:
        await asyncio.sleep(0)
        return request.GET.get("word") == "open"


def worded(word: str, request: Any, path: str) -> bool:
    return request.GET.get("word") == word


async def worded_later(word: str, request: Any, path: str) -> bool:
    await asyncio.sleep(0)
    return request.GET.get("word") == word


partial = functools.partial(worded, "open")
partial_later = functools.partial(worded_later, "open")

_ANSWERS = {"none": None, "one": 1, "text": "yes", "zero": 0}


def vague(request: Any, path: str) -> Any:
    """Says anything but True and False."""
    word = request.GET["word"]
    return request.user if word == "user" else _ANSWERS[word]


def failing(request: Any, path: str) -> bool:
    raise RuntimeError(f"the predicate fails for {path}")


async def failing_later(request: Any, path: str) -> bool:
    await request.auser()
    raise RuntimeError(f"the async predicate fails for {path}")


def telling(request: Any, path: str) -> bool:
    """Refuses, and tells by the exception what it was given."""
    told = [path, request.method, request.get_full_path(), request.COOKIES.get("a")]
    raise RuntimeError(f"told {told!r}")
