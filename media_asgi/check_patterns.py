"""
System checks of the URLconf: views that serve the files of a location.
"""

import functools
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import URLPattern, URLResolver, get_resolver
from django.views.static import serve

from .check_messages import message
from .check_served import ServedFolder
from .conf import is_in, requires_login


def serve_views(served: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Views of ``django.views.static`` for the same files."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    script = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    for one in served:
        file = one.prefix.removeprefix(script) + ("" if one.is_file else "x")
        for pattern, route, matches in _views([get_resolver()], file):
            root = pattern.default_args.get("document_root")
            if _is_serve(pattern.callback) and (matches or (root and is_in(one.folder, root))):
                is_guarded = one.is_public and _has_guard(pattern.callback)
                key = "W022" if is_guarded else "W011"
                yield message(key, url=one.url, route=repr(route))


def _views(
    patterns: Iterable[URLPattern | URLResolver], path: str | None, before: str = ""
) -> Iterator[tuple[URLPattern, str, bool]]:
    """Each view, its whole route, and whether the route matches the start of ``path``."""
    for pattern in patterns:
        if not isinstance(pattern, URLPattern | URLResolver):
            continue  # Django's urls.E004
        match = None if path is None else pattern.pattern.match(path)
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns, match[0] if match else None, route)
        else:
            yield pattern, route, match is not None


def _is_serve(view: object) -> bool:
    if isinstance(view, functools.partial):
        return _is_serve(view.func)
    return view is serve or (hasattr(view, "__wrapped__") and _is_serve(view.__wrapped__))


def _has_guard(view: object) -> bool:
    """Is this ``serve`` behind a decorator, such as ``login_required``, or the site's own login?"""
    while isinstance(view, functools.partial):
        view = view.func
    return view is not serve or requires_login()
