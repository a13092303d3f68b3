"""
Django's system checks: they report faults of a project's media before its users find them.

They read the settings, the URLconf and the roots of the locations, without their subfolders. They
import the application of ``ASGI_APPLICATION``, as Django's own checks import the URLconf.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.core.files.storage import storages
from django.core.management import get_commands, load_command_class
from django.core.management.commands.runserver import Command as Runserver
from django.utils.module_loading import import_string

from .check_messages import message
from .check_mistakes import is_wrapped, place_of, relative_urls, secrets, settings_mistakes
from .check_patterns import serve_views
from .check_served import ServedFolder
from .conf import is_in, is_same, project_folders
from .conf_urls import decoded_prefix
from .http.host import is_host
from .middleware import MediaMiddleware
from .sources.cache_folder import folder_faults
from .sources.django_storage import kind_of
from .storage import ServedStorage

_SIGNED = "media_asgi.storage.SignedMediaStorage"
_FILE_SYSTEM = (
    "django.core.files.storage.FileSystemStorage",
    "django.core.files.storage.filesystem.FileSystemStorage",
    _SIGNED,
)


def check_project(app_configs: object, **_: object) -> list[CheckMessage]:
    """The checks of ``manage.py check`` and ``runserver``."""
    served, messages = _find()
    stores = [one for one in _served_now() if not one.folder]
    messages += settings_mistakes()
    messages += _runserver()
    for one in served:
        messages += _folder(one)
    messages += _static(served)
    messages += _exposed(served)
    messages += _exposed_objects(stores)
    messages += _caches([*served, *stores])
    messages += _links(stores)
    messages += _storages(served)
    messages += serve_views(served)
    messages += [message("W024", url=one.url) for one in served if _runs_uploads(one)]
    return messages


def check_deployment(app_configs: object, **_: object) -> list[CheckMessage]:
    """The checks of ``manage.py check --deploy``."""
    messages = []
    for one in _find()[0]:
        try:
            mode = os.stat(one.folder).st_mode
        except FileNotFoundError:
            messages.append(message("W017", root=one.root))
        except OSError:
            pass  # E003 and W006 report it
        else:
            # On Windows every folder has mode 0777, which means nothing there.
            if mode & stat.S_IWOTH and os.name != "nt":
                octal = f"{stat.S_IMODE(mode):04o}"
                messages.append(message("W018", root=one.root, mode=octal, folder=one.folder))
    if any("whitenoise" in name.lower() for name in settings.MIDDLEWARE):
        explicit = hasattr(settings, "WHITENOISE_AUTOREFRESH")
        setting = "WHITENOISE_AUTOREFRESH" if explicit else "DEBUG"
        if getattr(settings, setting):
            messages.append(message("W019", setting=setting))
    if settings.FILE_UPLOAD_PERMISSIONS is None:
        messages.append(message("W020", size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE))
    messages += relative_urls()
    return messages


_importing = False


def _find() -> tuple[list[ServedFolder], list[CheckMessage]]:
    """The folders that the project's application serves, and the faults of the application."""
    global _importing
    if _importing:  # the application's module runs a management command, which runs the checks
        return [], []
    name = getattr(settings, "ASGI_APPLICATION", None)
    if not name:
        package = str(getattr(settings, "ROOT_URLCONF", "")).rpartition(".")[0] or "mysite"
        key = "W002" if settings.WSGI_APPLICATION else "W001"
        return _default([message(key, application=f"{package}.asgi.application")])
    # The application's module calls django.setup() again. A logging configuration that is applied
    # twice disables the loggers that were made in between.
    configuration = settings.LOGGING_CONFIG
    settings.LOGGING_CONFIG = None
    _importing = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the server shows them when it starts
            application = import_string(name)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        # What _default would say of the settings, the error may say already.
        return _default([])[0], [
            message("E009", application=name, place=place_of(error), error=text)
        ]
    finally:
        _importing = False
        settings.LOGGING_CONFIG = configuration
    if not MediaMiddleware.instances:
        return _default([message("W004", application=name)])
    messages = []
    if is_wrapped(application, MediaMiddleware):
        messages.append(message("W026", application=name, kind=type(application).__qualname__))
    return [one for one in _served_now() if one.folder], messages


def _served_now() -> list[ServedFolder]:
    """What this process serves. The folder is empty if it depends on the host, or is a bucket."""
    return [
        ServedFolder(
            folder, location.prefix, location.host or urlsplit(location.url).netloc, location
        )
        for one in MediaMiddleware.instances
        for location in one.locations
        for folder in location.folders or [""]
    ]


def _default(messages: list[CheckMessage]) -> tuple[list[ServedFolder], list[CheckMessage]]:
    """The folder that a MediaMiddleware without locations would serve."""
    url = _split(settings.MEDIA_URL)
    if not settings.MEDIA_ROOT:
        messages.append(message("E001"))
    if not url.path.strip("/") and not url.netloc:
        messages.append(message("E002", url=repr(settings.MEDIA_URL)))
    elif settings.MEDIA_ROOT:
        folder = os.path.abspath(settings.MEDIA_ROOT)
        return [ServedFolder(folder, decoded_prefix(url.path), url.netloc)], messages
    return [], messages


def _split(url: str | None) -> SplitResult:
    """A URL of the settings; the parts of an empty one if it is none."""
    try:
        return urlsplit(url or "")
    except ValueError:
        return urlsplit("")


def _runserver() -> Iterator[CheckMessage]:
    if not settings.DEBUG:
        return
    command = load_command_class(get_commands()["runserver"], "runserver")
    # The runserver of an ASGI server always overrides inner_run.
    if isinstance(command, Runserver) and type(command).inner_run is Runserver.inner_run:
        yield message("W005", command=type(command).__module__)


def _folder(served: ServedFolder) -> Iterator[CheckMessage]:
    root, folder = served.root, served.folder
    try:
        if served.is_file:
            os.stat(folder)
        else:
            with os.scandir(folder):
                os.stat(os.path.join(folder, "."))
    except FileNotFoundError:
        pass  # the first upload creates it
    except NotADirectoryError:
        yield message("E003", root=root)
    except OSError as error:
        yield message("W006", root=root, error=error.strerror)
    if not served.answers_clients:
        return  # the application chooses the files that it hands over
    code = [*project_folders(), *(config.path for config in apps.get_app_configs())]
    for path in code:
        if is_in(path, folder):
            yield message("E004", root=root, code=path)
            break
    for database in settings.DATABASES.values():
        if (database.get("ENGINE") or "").endswith(("sqlite3", "spatialite")):
            name = os.fspath(database.get("NAME") or ":memory:")
            if not name.startswith((":memory:", "file:")) and is_in(name, folder):
                yield message("E005", root=root, database=name)
    if served.is_public:
        for secret in secrets(folder, served.location.dotfiles if served.location else False):
            yield message("W008", root=root, secret=secret)


def _static(served: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Conflicts between the media and the static files."""
    if settings.MEDIA_ROOT and settings.STATIC_ROOT:
        if is_in(settings.MEDIA_ROOT, settings.STATIC_ROOT):
            yield message("E006", static=settings.STATIC_ROOT)
        elif is_in(settings.STATIC_ROOT, settings.MEDIA_ROOT):
            yield message("W007", static=settings.STATIC_ROOT)
    url = _split(settings.STATIC_URL)
    if not url.path:
        return
    static = decoded_prefix(url.path)
    folders = [one for one in served if not one.is_file]
    hiding = [one for one in folders if static.startswith(one.prefix)]
    for one in folders:
        # A location may serve the static files on purpose.
        is_static = one.prefix == static or (
            settings.STATIC_ROOT and is_in(one.folder, settings.STATIC_ROOT)
        )
        if (is_static and not one.is_media) or not one.answers_clients or one.host != url.netloc:
            continue
        if one in hiding:
            falls_through = one.location is not None and one.location.fallthrough
            if one is max(hiding, key=lambda one: len(one.prefix)) and not falls_through:
                yield message("E007", url=one.url, static=settings.STATIC_URL)
        elif one.prefix.startswith(static):
            yield message("W009", url=one.url, static=settings.STATIC_URL)


def _exposed(served: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Restricted or uploaded files that something else serves too."""
    whitenoise = getattr(settings, "WHITENOISE_ROOT", None)
    if settings.MEDIA_ROOT and whitenoise and is_in(settings.MEDIA_ROOT, whitenoise):
        yield message("W012", whitenoise=whitenoise)
    for one in served:
        if one.is_public or one.location is None:
            continue
        # A public location doesn't serve a restricted folder below its root, but it does serve its
        # own root.
        by = [
            other.url for other in served if other.is_public and is_same(other.folder, one.folder)
        ]
        by += [name for name, root in _static_roots() if is_in(one.folder, root)]
        if by:
            yield message("W013", root=one.root, access=repr(one.location.access), public=by[0])


def _exposed_objects(stores: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Restricted objects that a public location serves too, from the same bucket and prefix."""
    for one in stores:
        if one.is_public or one.location is None:
            continue
        for other in stores:
            if other.is_public and (shared := _buckets(one) & _buckets(other)):
                root = f"The root of {one.url[0].lower()}{one.url[1:]} ({min(shared)})"
                access = repr(one.location.access)
                yield message("W013", root=root, access=access, public=other.url)
                break


def _buckets(one: ServedFolder) -> set[str]:
    """The buckets of a location, with their prefixes. No store is made."""
    location = one.location
    if location is None:
        return set()
    storage: Any = location.alias and storages[location.alias]
    if storage and (kind := kind_of(storage)) is not None:
        bucket = storage.azure_container if kind == "az" else storage.bucket_name
        prefix = (storage.location or "").strip("/")
        return {f"{kind}://{bucket}/{prefix}".rstrip("/")}
    roots = location.root if isinstance(location.root, list | tuple) else [location.root]
    return {root.rstrip("/") for root in roots if isinstance(root, str) and "://" in root}


def _static_roots() -> Iterator[tuple[str, str]]:
    """Folders that others than this package serve to everybody, and their names in a message."""
    for name in ("STATIC_ROOT", "WHITENOISE_ROOT"):
        if root := getattr(settings, name, None):
            yield f"{name} ({root})", root


def _caches(served: list[ServedFolder]) -> Iterator[CheckMessage]:
    roots = [(one.root, one.folder) for one in served if one.folder] + [*_static_roots()]
    cached = [(one, one.location.cache) for one in served if one.location and one.location.cache]
    for one, cache in cached:
        folder = os.fspath(cache.path)
        for root, path in roots:
            if is_in(folder, path):
                yield message("E008", url=one.url, cache=folder, root=root)
        faults = [*folder_faults(folder)]
        if any(
            other.max_size != cache.max_size and is_same(other.path, folder) for _, other in cached
        ):
            faults.insert(0, "is another location's too, with another max_size")
        for fault in faults:
            yield message("W021", url=one.url, cache=folder, fault=fault)


def _links(stores: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Storages of object stores whose links lead to the store, and pass their location by."""
    for one in stores:
        alias = one.location and one.location.alias
        if not alias or kind_of(storage := storages[alias]) is None:
            continue
        # With a domain of its own the project says where the links lead.
        if not isinstance(storage, ServedStorage) and not getattr(storage, "custom_domain", None):
            backend = type(storage).__name__
            yield message("W023", alias=repr(alias), url=one.url, backend=backend)


def _storages(served: list[ServedFolder]) -> Iterator[CheckMessage]:
    """Storages whose files are not served, or are served by a location that makes them public."""
    for alias, storage in settings.STORAGES.items():
        folder = storage.get("OPTIONS", {}).get("location") or settings.MEDIA_ROOT
        # The backend is known by its name, since the import of a backend may take long.
        if not served or not folder or storage.get("BACKEND") not in _FILE_SYSTEM:
            continue
        holding = [one for one in served if is_in(folder, one.folder)]
        if not holding and alias == "default":
            yield message("W015", folder=folder)
        if storage["BACKEND"] == _SIGNED:
            deepest = max((len(os.path.realpath(one.folder)) for one in holding), default=0)
            for one in holding:
                if one.is_public and len(os.path.realpath(one.folder)) == deepest:
                    yield message("W016", alias=repr(alias), url=one.url)


def _runs_uploads(one: ServedFolder) -> bool:
    location = one.location
    if location is None or location.sandbox or not one.answers_clients or location.file:
        return False
    # Nobody uploads static files.
    if settings.STATIC_ROOT and is_in(one.folder, settings.STATIC_ROOT):
        return False
    host = location.host
    return host is None or (
        not location.owns_host and any(is_host(host, allowed) for allowed in settings.ALLOWED_HOSTS)
    )
