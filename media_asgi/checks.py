"""
Django's system checks: what is wrong with a project's media, before its users find out.

Everything is found out from the settings, the URLconf, the folders themselves (none is walked), and
the application that ``ASGI_APPLICATION`` names, which is imported as Django's own checks import the
URLconf.
"""

import contextlib
import functools
import inspect
import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.management import get_commands, load_command_class
from django.core.management.commands.runserver import Command as Runserver
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string
from django.views.static import serve

from .location import Location, project_folders
from .middleware import MediaMiddleware


class Check(NamedTuple):
    sentence: str
    cure: str
    deploy: bool = False
    """Only with ``--deploy``."""


# E: a server can't start with it, or gives away or loses files. W: anything less.
#
# With --deploy alone: what is ordinary on a developer's machine (no upload yet, DEBUG, a folder
# that a virtual machine shares with mode 0777), and what counts only where others have an account.
CHECKS = {
    "E001": Check(
        "MEDIA_ROOT is not set, so there is no folder to serve.",
        'Set it to the folder that uploads go to, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E002": Check(
        "MEDIA_URL is {url}, under which every page of the site would be taken for a file.",
        'Set it to a path of its own, such as MEDIA_URL = "/media/".',
    ),
    "E003": Check(
        "{root} is not a folder.",
        "Remove what is there, or name the folder that holds the files.",
    ),
    "E004": Check(
        "{root} holds the project's own code ({code}), which would be served like an upload.",
        'Give uploads a folder of their own, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E005": Check(
        "{root} holds a database ({database}), which would be served like an upload.",
        "Move the database out of it (NAME in DATABASES).",
    ),
    "E006": Check(
        "MEDIA_ROOT is STATIC_ROOT or lies in it ({static}): uploads are served as static files, "
        'too, and "collectstatic --clear" deletes them.',
        "Give each a folder of its own.",
    ),
    "E007": Check(
        "{url} hides STATIC_URL ({static}): static files are looked for among the media.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "W001": Check(
        "ASGI_APPLICATION is not set: Daphne's runserver and these checks don't know which "
        "application serves the media.",
        'Set ASGI_APPLICATION = "{application}".',
    ),
    "W002": Check(
        "WSGI_APPLICATION is set and ASGI_APPLICATION is not: under WSGI nothing serves the media.",
        'Set ASGI_APPLICATION = "{application}", and run that under an ASGI server.',
    ),
    "W003": Check(
        "ASGI_APPLICATION ({application}) can't be imported: {error}",
        "Correct this first: no server can start with it, and what it serves can't be checked.",
    ),
    "W004": Check(
        "ASGI_APPLICATION ({application}) has no MediaMiddleware, so nothing serves the media.",
        "Wrap it where it is made: application = MediaMiddleware(get_asgi_application()).",
    ),
    "W005": Check(
        '"manage.py runserver" is a WSGI server here ({command}), which never asks '
        "MediaMiddleware.",
        'Put "daphne" first in INSTALLED_APPS (only "whitenoise.runserver_nostatic" goes before '
        "it), or develop with an ASGI server.",
    ),
    "W006": Check(
        "{root} can't be read: {error}.",
        "Let the user that the server runs as read and enter it.",
    ),
    "W007": Check(
        "MEDIA_ROOT holds STATIC_ROOT ({static}): static files are served as media, too, and an "
        "upload can be saved among them.",
        "Give each a folder of its own.",
    ),
    "W008": Check(
        "{root} holds {secret}, which is to be nobody's to read.",
        "Move it out. Names that begin with a dot are served with dotfiles=True alone.",
    ),
    "W009": Check(
        "{url} lies in STATIC_URL ({static}): what serves static files in front of "
        "MediaMiddleware, such as runserver with DEBUG, takes uploads for some of them.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "W010": Check(
        "MEDIA_URL is relative ({url}) and FORCE_SCRIPT_NAME is set: Django resolves it once, when "
        "it is first read, and at import there is no script name yet.",
        'Write it in full: MEDIA_URL = "{full}".',
    ),
    "W011": Check(
        "{url} has django.views.static.serve in the URLconf, too, at {route}.",
        "Remove it: MediaMiddleware serves the files with DEBUG on, too, and the access of a "
        "location says who may see them.",
    ),
    "W012": Check(
        "MEDIA_ROOT is WHITENOISE_ROOT or lies in it ({whitenoise}): WhiteNoise looks at each "
        "upload at start, and serves it as a file of the site's own.",
        "Give WHITENOISE_ROOT a folder of its own.",
    ),
    "W013": Check(
        "{root} is guarded (access={access}), but {public} makes the same files public.",
        "Give the guarded files a folder of their own; it may lie in a public location's.",
    ),
    "W014": Check(
        "{setting} is {mode}: not even the user who saved an upload can open it, and clients get "
        "a 403.",
        "Set {setting} = {usual}, an octal number.",
    ),
    "W015": Check(
        "Uploads go to {folder} (the default storage), which is in no location.",
        'Give MediaMiddleware a Location.storage("default"), or the storage another location.',
    ),
    "W016": Check(
        "STORAGES[{alias}] signs its links, but {url} makes its files public.",
        "Give MediaMiddleware a Location.storage({alias}): it asks for the signature.",
    ),
    "W017": Check(
        "{root} does not exist.",
        "Create or mount it. The first upload would create it too.",
        deploy=True,
    ),
    "W018": Check(
        "{root} can be written by every user of this machine (mode {mode}), so that each can put "
        "files on the site. A sticky bit only keeps them from replacing those of others.",
        "chmod o-w {folder}",
        deploy=True,
    ),
    "W019": Check(
        "WhiteNoise looks for new files at each request, because {setting} is on: it is slow, and "
        "not meant to be safe.",
        "Set DEBUG = False, and leave WHITENOISE_AUTOREFRESH out.",
        deploy=True,
    ),
    "W020": Check(
        "FILE_UPLOAD_PERMISSIONS is None: uploads over {size} bytes are saved with mode 0600, and "
        "are the only ones that no other user (a worker, a backup) can read.",
        "Leave it out (0o644), or set the mode that all uploads are to have.",
        deploy=True,
    ),
}

LEVELS = {"E": Error, "W": Warning}

_SIGNED = "media_asgi.storage.SignedMediaStorage"
_FILE_SYSTEM = (
    "django.core.files.storage.FileSystemStorage",
    "django.core.files.storage.filesystem.FileSystemStorage",
    _SIGNED,
)


def _message(key: str, **names: object) -> CheckMessage:
    check = CHECKS[key]
    return LEVELS[key[0]](
        check.sentence.format(**names), hint=check.cure.format(**names), id=f"media_asgi.{key}"
    )


class _Served(NamedTuple):
    """What is served: by a location of the application, or, while there is none, by default."""

    folder: str
    prefix: str
    host: str
    location: Location | None = None

    @property
    def access(self) -> object:
        return self.location.access if self.location else "public"

    @property
    def is_media(self) -> bool:
        return bool(settings.MEDIA_ROOT) and _is_same(self.folder, settings.MEDIA_ROOT)

    @property
    def root(self) -> str:
        if self.is_media or not self.location:
            return f"MEDIA_ROOT ({self.folder})"
        return f"The root of the location {self.location.url!r} ({self.folder})"

    @property
    def url(self) -> str:
        if not self.location or self.location.url == settings.MEDIA_URL:
            return f"MEDIA_URL ({settings.MEDIA_URL})"
        return f"The location {self.location.url!r}"


def check_project(app_configs: object, **_: object) -> list[CheckMessage]:
    served, messages = _find()
    messages += _settings()
    messages += _runserver()
    for one in served:
        messages += _folder(one)
    messages += _static(served)
    messages += _exposed(served)
    messages += _storages(served)
    messages += _patterns(served)
    return messages


def check_deployment(app_configs: object, **_: object) -> list[CheckMessage]:
    messages = []
    for one in _find()[0]:
        try:
            mode = os.stat(one.folder).st_mode
        except FileNotFoundError:
            messages.append(_message("W017", root=one.root))
        except OSError:
            pass  # E003 and W006 say it
        else:
            # Windows has no such mode, and says 0777 of all folders.
            if mode & stat.S_IWOTH and os.name != "nt":
                mode_ = f"{stat.S_IMODE(mode):04o}"
                messages.append(_message("W018", root=one.root, mode=mode_, folder=one.folder))
    if any("whitenoise" in name.lower() for name in settings.MIDDLEWARE):
        explicit = hasattr(settings, "WHITENOISE_AUTOREFRESH")
        setting = "WHITENOISE_AUTOREFRESH" if explicit else "DEBUG"
        if getattr(settings, setting):
            messages.append(_message("W019", setting=setting))
    if settings.FILE_UPLOAD_PERMISSIONS is None:
        messages.append(_message("W020", size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE))
    return messages


_importing = False


def _find() -> tuple[list[_Served], list[CheckMessage]]:
    """What the project's application serves, and what is wrong with that application."""
    global _importing
    if _importing:  # the application's module runs a management command, and that these checks
        return [], []
    name = getattr(settings, "ASGI_APPLICATION", None)
    if not name:
        package = str(getattr(settings, "ROOT_URLCONF", "")).rpartition(".")[0] or "mysite"
        key = "W002" if settings.WSGI_APPLICATION else "W001"
        return _default([_message(key, application=f"{package}.asgi.application")])
    # The application's module calls setup() again, and a logging configuration that is applied
    # twice disables the loggers made in between.
    configuration = settings.LOGGING_CONFIG
    settings.LOGGING_CONFIG = None
    _importing = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for who starts the server
            application = import_string(name)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        return _default([_message("W003", application=name, error=text)])
    finally:
        _importing = False
        settings.LOGGING_CONFIG = configuration
    middlewares = _middlewares(application)
    if not middlewares:
        return _default([_message("W004", application=name)])
    locations = [served.location for one in middlewares for served in one._served]
    return [
        _Served(location.folder, location.prefix, urlsplit(location.url).netloc, location)
        for location in locations
    ], []


def _default(messages: list[CheckMessage]) -> tuple[list[_Served], list[CheckMessage]]:
    """What a MediaMiddleware without locations serves, or would."""
    url = urlsplit(settings.MEDIA_URL)
    if not settings.MEDIA_ROOT:
        messages.append(_message("E001"))
    if not url.path.strip("/"):
        messages.append(_message("E002", url=repr(settings.MEDIA_URL)))
    elif settings.MEDIA_ROOT:
        folder = os.path.abspath(settings.MEDIA_ROOT)
        return [_Served(folder, _prefix(url), url.netloc)], messages
    return [], messages


def _middlewares(application: object) -> list[MediaMiddleware]:
    """Each MediaMiddleware that an application consists of, however it is put together."""
    parts = [application]
    seen = {id(application)}
    for part in parts:  # which grows meanwhile
        for inner in _parts(part):
            # A function's variables may lead far away.
            if callable(inner) and id(inner) not in seen and len(parts) < 500:
                seen.add(id(inner))
                parts.append(inner)
    return [part for part in parts if isinstance(part, MediaMiddleware)]


def _parts(application: object) -> Iterator[object]:
    """The applications within one: of a wrapper, a router, a partial, a function."""
    if isinstance(application, type):
        return
    if isinstance(application, MethodType):
        yield application.__self__
        application = application.__func__
    if isinstance(application, FunctionType):
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            variables = inspect.getclosurevars(application)
            yield from variables.nonlocals.values()
            yield from variables.globals.values()
    if isinstance(application, functools.partial):
        yield from (application.func, *application.args, *application.keywords.values())
    for name in ("app", "application", "inner", "__wrapped__"):
        yield getattr(application, name, None)
    mapping = getattr(application, "application_mapping", None)
    if isinstance(mapping, Mapping):  # Channels' ProtocolTypeRouter
        yield from mapping.values()
    routes = getattr(application, "routes", None)
    if isinstance(routes, Sequence):  # its URLRouter, and Starlette's Router
        for route in routes:
            yield getattr(route, "callback", None) or getattr(route, "app", None)


def _settings() -> Iterator[CheckMessage]:
    url = vars(settings)["_wrapped"].MEDIA_URL  # as it is written
    script = settings.FORCE_SCRIPT_NAME
    if script and url and not url.startswith(("/", "http://", "https://")):
        yield _message("W010", url=repr(url), full=f"{script.rstrip('/')}/{url}")
    for setting, needed, usual in (
        ("FILE_UPLOAD_PERMISSIONS", stat.S_IRUSR, "0o644"),
        ("FILE_UPLOAD_DIRECTORY_PERMISSIONS", stat.S_IXUSR, "0o755"),
    ):
        mode = getattr(settings, setting)
        if mode is not None and not mode & needed:
            yield _message("W014", setting=setting, mode=f"{mode} (0o{mode:o})", usual=usual)


def _runserver() -> Iterator[CheckMessage]:
    if not settings.DEBUG:
        return
    command = load_command_class(get_commands()["runserver"], "runserver")
    # An ASGI one can't do without a way of its own to run.
    if isinstance(command, Runserver) and type(command).inner_run is Runserver.inner_run:
        yield _message("W005", command=type(command).__module__)


def _folder(served: _Served) -> Iterator[CheckMessage]:
    root, folder = served.root, served.folder
    try:
        with os.scandir(folder):
            os.stat(os.path.join(folder, "."))
    except FileNotFoundError:
        pass  # the first upload creates it
    except NotADirectoryError:
        yield _message("E003", root=root)
    except OSError as error:
        yield _message("W006", root=root, error=error.strerror)
    if served.access == "internal":
        return  # what is handed over is the application's own choice
    code = [*project_folders(), *(config.path for config in apps.get_app_configs())]
    for path in code:
        if _is_in(path, folder):
            yield _message("E004", root=root, code=path)
            break
    for database in settings.DATABASES.values():
        if database.get("ENGINE", "").endswith(("sqlite3", "spatialite")):
            name = os.fspath(database.get("NAME") or ":memory:")
            if not name.startswith((":memory:", "file:")) and _is_in(name, folder):
                yield _message("E005", root=root, database=name)
    for secret in (".env", ".git"):
        if os.path.lexists(os.path.join(folder, secret)):
            yield _message("W008", root=root, secret=secret)


def _static(served: list[_Served]) -> Iterator[CheckMessage]:
    """What comes between the media and the static files."""
    if settings.MEDIA_ROOT and settings.STATIC_ROOT:
        if _is_in(settings.MEDIA_ROOT, settings.STATIC_ROOT):
            yield _message("E006", static=settings.STATIC_ROOT)
        elif _is_in(settings.STATIC_ROOT, settings.MEDIA_ROOT):
            yield _message("W007", static=settings.STATIC_ROOT)
    url = urlsplit(settings.STATIC_URL or "")
    if not url.path:
        return
    static = _prefix(url)
    hiding = [one for one in served if static.startswith(one.prefix)]
    for one in served:
        # A location may be there for the static files themselves.
        meant = one.prefix == static or (
            settings.STATIC_ROOT and _is_in(one.folder, settings.STATIC_ROOT)
        )
        if meant and not one.is_media:
            continue
        if one.access == "internal" or one.host != url.netloc:
            continue
        if one in hiding:
            falls_through = one.location is not None and one.location.fallthrough
            if one is max(hiding, key=lambda one: len(one.prefix)) and not falls_through:
                yield _message("E007", url=one.url, static=settings.STATIC_URL)
        elif one.prefix.startswith(static):
            yield _message("W009", url=one.url, static=settings.STATIC_URL)


def _exposed(served: list[_Served]) -> Iterator[CheckMessage]:
    """Files that are served by others, too."""
    roots = {
        name: root
        for name in ("STATIC_ROOT", "WHITENOISE_ROOT")
        if (root := getattr(settings, name, None))
    }
    whitenoise = roots.get("WHITENOISE_ROOT")
    if settings.MEDIA_ROOT and whitenoise and _is_in(settings.MEDIA_ROOT, whitenoise):
        yield _message("W012", whitenoise=whitenoise)
    for one in served:
        if one.access == "public":
            continue
        # A guarded folder below a public one is left out there; the same folder is not.
        by = [
            other.url
            for other in served
            if other.access == "public" and _is_same(other.folder, one.folder)
        ]
        by += [f"{name} ({root})" for name, root in roots.items() if _is_in(one.folder, root)]
        if by:
            yield _message("W013", root=one.root, access=repr(one.access), public=by[0])


def _storages(served: list[_Served]) -> Iterator[CheckMessage]:
    """Storages whose files no location serves, or the wrong one."""
    for alias, storage in settings.STORAGES.items():
        folder = storage.get("OPTIONS", {}).get("location") or settings.MEDIA_ROOT
        # By name: to import another backend may take its time, for nothing.
        if not served or not folder or storage.get("BACKEND") not in _FILE_SYSTEM:
            continue
        holding = [one for one in served if _is_in(folder, one.folder)]
        if not holding and alias == "default":
            yield _message("W015", folder=folder)
        if storage["BACKEND"] == _SIGNED:
            deepest = max((len(os.path.realpath(one.folder)) for one in holding), default=0)
            for one in holding:
                if one.access == "public" and len(os.path.realpath(one.folder)) == deepest:
                    yield _message("W016", alias=repr(alias), url=one.url)


def _patterns(served: list[_Served]) -> Iterator[CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return
    script = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    for one in served:
        file = one.prefix.removeprefix(script) + "x"
        for pattern, route, matches in _views([get_resolver()], file):
            root = pattern.default_args.get("document_root")
            if _is_serve(pattern.callback) and (matches or (root and _is_in(one.folder, root))):
                yield _message("W011", url=one.url, route=repr(route))


def _views(
    patterns: Iterable[URLPattern | URLResolver], path: str | None, before: str = ""
) -> Iterator[tuple[URLPattern, str, bool]]:
    """Each view with its whole route: may it be asked for ``path``?"""
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


def _prefix(url: SplitResult) -> str:
    path = unquote(url.path).strip("/")
    return f"/{path}/" if path else "/"


def _is_in(path: Any, folder: Any) -> bool:
    """Is ``path`` this folder, or anything beneath it?"""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _is_same(folder: Any, other: Any) -> bool:
    return Path(os.path.realpath(folder)) == Path(os.path.realpath(other))
