"""
Mistakes that newcomers make: what the system checks ask about settings, asgi.py and the files.
"""

import fnmatch
import os
import stat
import traceback
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from itertools import islice

from django.conf import settings
from django.core.checks import CheckMessage

from .check_messages import message
from .conf import is_in, project_folders
from .conf_urls import is_relative
from .http.path import file_name

_MIDDLEWARE = {"media_asgi.MediaMiddleware", "media_asgi.middleware.MediaMiddleware"}

# Keys, dumps of databases, and what lies in the folder of a project.
_SECRETS = (
    *(".env", ".git", "id_rsa", "id_ecdsa", "id_ed25519"),
    *("*.key", "*.kdbx", "*.p12", "*.pem", "*.pfx", "*.sql", "*.sql.gz", "*.sqlite3"),
)

# A folder of uploads may have millions of entries, and the checks run before each command.
_MOST_ENTRIES = 1000


def place_of(error: BaseException) -> str:
    """The project's own line that raised, as ``", at FILE:LINE"``; empty if it is not known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f", at {error.filename}:{error.lineno}"
    folders = project_folders()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = os.path.realpath(frame.filename)
        if "site-packages" not in path and any(is_in(path, folder) for folder in folders):
            return f", at {frame.filename}:{frame.lineno}"
    return ""


def settings_mistakes() -> Iterator[CheckMessage]:
    url = _as_written("MEDIA_URL")
    script = settings.FORCE_SCRIPT_NAME
    if script and is_relative(url):
        yield message("W010", url=repr(url), full=f"{script.rstrip('/')}/{url}")
    for setting, needed, usual in (
        ("FILE_UPLOAD_PERMISSIONS", stat.S_IRUSR, "0o644"),
        ("FILE_UPLOAD_DIRECTORY_PERMISSIONS", stat.S_IXUSR, "0o755"),
    ):
        mode = getattr(settings, setting)
        is_number = isinstance(mode, int)  # or text, of an environment variable
        if mode is not None and not (is_number and mode & needed):
            shown = f"{mode} (0o{mode:o})" if is_number else repr(mode)
            yield message("W014", setting=setting, mode=shown, usual=usual)
    for name in sorted(_MIDDLEWARE.intersection(settings.MIDDLEWARE)):
        yield message("E010", name=repr(name))
    root = settings.MEDIA_ROOT
    if root and not os.path.isabs(root):
        yield message("W025", root=repr(os.fspath(root)))


def relative_urls() -> Iterator[CheckMessage]:
    """Settings that Django resolves by the root path of its first request.

    Daphne takes that from the request header ``Daphne-Root-Path``, which any client can write.
    """
    if settings.FORCE_SCRIPT_NAME or find_spec("daphne") is None:
        return  # Django takes that before the root path
    for name in ("MEDIA_URL", "STATIC_URL"):
        url = _as_written(name)
        if is_relative(url):
            yield message("W027", setting=name, url=repr(url), full=url)


def _as_written(name: str) -> str:
    """A setting without the script name that Django puts before it."""
    return getattr(vars(settings)["_wrapped"], name) or ""


def is_wrapped(application: object, middleware: type) -> bool:
    """Does something stand between Daphne and the middleware that may replace ``send``?"""
    kind = type(application)
    return (
        not isinstance(application, middleware)
        and kind.__module__ != "channels.routing"  # passes send on as it is
        and find_spec("daphne") is not None
    )


def secrets(folder: str, dotfiles: bool | Collection[str]) -> Iterator[str]:
    """Names in this folder that are served, and that clients must not read."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST_ENTRIES))
    except OSError:  # another check reports it
        return
    for name in names:
        if file_name(name, dotfiles=dotfiles) is not None and any(
            fnmatch.fnmatch(name.lower(), pattern) for pattern in _SECRETS
        ):
            yield name
