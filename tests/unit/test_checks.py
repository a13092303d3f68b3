"""The system checks: which settings, folders and applications get which message."""

import gc
import logging
import os
import re
import stat
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import django
import pytest
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.conf.urls.static import static
from django.core.checks import CheckMessage, Error, Warning, run_checks
from django.core.management import call_command, get_commands
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from django.views.static import serve

from media_asgi import DiskCache, Location, MediaMiddleware, checks
from media_asgi.check_messages import CHECKS
from media_asgi.check_served import ServedFolder
from media_asgi.checks import check_deployment, check_project
from media_asgi.sources.openat2 import KERNEL

from ..support.programs import need_unprivileged, unprivileged
from ..support.servers import ROOT

WRAPPED = """
from django.core.asgi import get_asgi_application
from media_asgi import Location, MediaMiddleware
application = MediaMiddleware(get_asgi_application(){locations})
"""
STATIC, DAPHNE = "django.contrib.staticfiles", "daphne"
NOSTATIC = "whitenoise.runserver_nostatic"
FILES = "django.core.files.storage.FileSystemStorage"
SIGNED = "media_asgi.storage.SignedMediaStorage"
DJANGO = os.path.dirname(django.__file__)
# The cache is in no signature of django-stubs.
_COMMANDS: Any = get_commands
SQLITE = "django.db.backends.sqlite3"


async def plain(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def allowed(request: Any, name: str) -> bool:
    return True


class Project:
    """A folder with all that a project without a fault has."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.media = folder / "media"
        self.static = folder / "static"
        self.code = folder / "code"
        self.module = f"asgi_{number}"
        for each in (self.media, self.static, self.code):
            each.mkdir(mode=0o755)
        (folder / "file").touch()
        (folder / "to_code").symlink_to(folder)
        (folder / "loop").symlink_to("loop")
        self.write()

    def write(self, locations: str = "", code: str = WRAPPED) -> None:
        source = code.replace("{locations}", locations).replace("{tmp}", str(self.folder))
        (self.code / f"{self.module}.py").write_text(source)

    def filled(self, value: Any) -> Any:
        """``{tmp}`` replaced, however deep."""
        if isinstance(value, str):
            return value.replace("{tmp}", str(self.folder))
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return value

    def settings(self, **changes: Any) -> override_settings:
        sound = {
            "ASGI_APPLICATION": f"{self.module}.application",
            "BASE_DIR": self.code,
            "MEDIA_ROOT": self.media,
            "MEDIA_URL": "/media/",
            "ROOT_URLCONF": (),
            "STATIC_ROOT": self.static,
            "STATIC_URL": "/static/",
        }
        return override_settings(**{**sound, **self.filled(changes)})

    def check(self, deploy: bool = False, **changes: Any) -> list[str]:
        with self.settings(**changes):
            _COMMANDS.cache_clear()
            # It settles at import whose runserver it extends.
            sys.modules.pop(f"{NOSTATIC}.management.commands.runserver", None)
            messages = (check_deployment if deploy else check_project)(None)
        _COMMANDS.cache_clear()
        for message in messages:
            assert message.hint
            assert isinstance(message, Error if ".E" in str(message.id) else Warning)
            assert not re.search(r"[{}]", message.msg + message.hint)
        return sorted(str(message.id).removeprefix("media_asgi.") for message in messages)


numbers = iter(range(10**6))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    settings.SECRET_KEY = "x" * 50  # override_settings could not go back to having none
    # Those of other tests may not have been collected yet.
    monkeypatch.setattr(MediaMiddleware, "instances", WeakSet())
    project = Project(tmp_path, next(numbers))
    monkeypatch.syspath_prepend(project.code)
    yield project
    sys.modules.pop(project.module, None)


def storages(**default: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": FILES, "OPTIONS": {"location": "{tmp}/uploads"}, **default}}


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("E009", {"MEDIA_ROOT": ""}),
    ("E001 W001", {"MEDIA_ROOT": "", "ASGI_APPLICATION": None}),
    ("E002 W001", {"MEDIA_URL": "", "ASGI_APPLICATION": None}),
    ("E002 W001", {"MEDIA_URL": None, "ASGI_APPLICATION": None}),
    ("E009", {"MEDIA_URL": None}),
    ("E009", {"MEDIA_ROOT": None}),
    ("E009", {"MEDIA_URL": "/"}),
    ("E009", {"MEDIA_URL": ""}),
    ("E009", {"MEDIA_URL": "http://["}),
    ("E002 W001", {"MEDIA_URL": "http://[", "ASGI_APPLICATION": None}),
    ("", {"STATIC_URL": "http://["}),
    ("", {"MEDIA_URL": "https://cdn.example"}),
    ("", {"MEDIA_URL": "https://cdn.example/media/"}),
    ("E009", {"MEDIA_ROOT": "", "MEDIA_URL": "/"}),
    ("", {"MEDIA_ROOT": "{tmp}/none"}),  # the first upload makes it
    ("E003", {"MEDIA_ROOT": "{tmp}/file"}),
    ("E003", {"MEDIA_ROOT": "{tmp}/file/below"}),
    ("W006", {"MEDIA_ROOT": "{tmp}/loop"}),
    ("E004 E009", {"MEDIA_ROOT": "{tmp}/code"}),
    ("E004 E009 W007", {"MEDIA_ROOT": "{tmp}"}),
    ("E004 E009 W007", {"MEDIA_ROOT": "{tmp}/to_code"}),
    # An app that is not below BASE_DIR.
    ("E004", {"MEDIA_ROOT": DJANGO, "INSTALLED_APPS": [STATIC]}),
    ("E006", {"STATIC_ROOT": "{tmp}/media"}),
    ("E006", {"MEDIA_ROOT": "{tmp}/static/media"}),
    ("", {"MEDIA_ROOT": "{tmp}/static media"}),
    ("W007", {"STATIC_ROOT": "{tmp}/media/static"}),
    ("", {"STATIC_ROOT": None}),
    ("E007", {"STATIC_URL": "/media/"}),
    ("E007", {"STATIC_URL": "/media/static/"}),
    ("E007", {"STATIC_URL": "https://a.example/media/", "MEDIA_URL": "https://a.example/media/"}),
    ("", {"STATIC_URL": "https://bucket.example/media/"}),
    ("", {"STATIC_URL": None}),
    ("", {"STATIC_URL": "/media-static/"}),
    ("", {"ROOT_URLCONF": None}),
    ("W009", {"MEDIA_URL": "/static/media/"}),
    ("W009", {"STATIC_URL": "/"}),
    ("W001", {"ASGI_APPLICATION": None}),
    ("W002", {"ASGI_APPLICATION": None, "WSGI_APPLICATION": "site.wsgi.application"}),
    ("", {"WSGI_APPLICATION": "site.wsgi.application"}),
    ("E009", {"ASGI_APPLICATION": "no_such_module.application"}),
    ("E009", {"ASGI_APPLICATION": "media_asgi.no_such_name"}),
    ("E009", {"ASGI_APPLICATION": "no_dot"}),
    ("W004", {"ASGI_APPLICATION": "tests.unit.test_checks.plain"}),
    ("W005", {"DEBUG": True}),
    ("W005", {"DEBUG": True, "INSTALLED_APPS": [STATIC]}),
    ("W005", {"DEBUG": True, "INSTALLED_APPS": [STATIC, DAPHNE]}),
    ("W005", {"DEBUG": True, "INSTALLED_APPS": [NOSTATIC, STATIC]}),
    ("", {"DEBUG": True, "INSTALLED_APPS": [DAPHNE, STATIC]}),
    ("", {"DEBUG": True, "INSTALLED_APPS": [NOSTATIC, DAPHNE, STATIC]}),
    ("E009 E010", {"MIDDLEWARE": ["media_asgi.MediaMiddleware"]}),
    ("E009 E010", {"MIDDLEWARE": ["media_asgi.middleware.MediaMiddleware"]}),
    ("W025", {"MEDIA_ROOT": "media"}),
    ("W010", {"MEDIA_URL": "media/", "FORCE_SCRIPT_NAME": "/app"}),
    ("", {"MEDIA_URL": "media/"}),
    ("", {"MEDIA_URL": "/app/media/", "FORCE_SCRIPT_NAME": "/app"}),
    ("", {"MEDIA_URL": "https://cdn.example/media/", "FORCE_SCRIPT_NAME": "/app"}),
    ("W012", {"WHITENOISE_ROOT": "{tmp}/media"}),
    ("W012", {"MEDIA_ROOT": "{tmp}/media/below", "WHITENOISE_ROOT": "{tmp}/media"}),
    ("", {"WHITENOISE_ROOT": "{tmp}/public"}),
    ("", {"WHITENOISE_ROOT": None}),
    ("W014", {"FILE_UPLOAD_PERMISSIONS": 644}),
    ("W014", {"FILE_UPLOAD_PERMISSIONS": "0644"}),
    ("W014", {"FILE_UPLOAD_DIRECTORY_PERMISSIONS": 0o644}),
    ("", {"FILE_UPLOAD_PERMISSIONS": 0o600, "FILE_UPLOAD_DIRECTORY_PERMISSIONS": 0o700}),
    ("", {"FILE_UPLOAD_PERMISSIONS": None}),
    ("W015", {"STORAGES": storages()}),
    ("W015", {"STORAGES": storages(BACKEND=FILES.replace("LocalFile", "filesystem.File"))}),
    ("", {"STORAGES": storages(OPTIONS={"location": "{tmp}/media/below"})}),
    ("", {"STORAGES": storages(BACKEND="no.such.module")}),  # is never imported
    ("", {"STORAGES": {}}),
    ("W016", {"STORAGES": {"default": {"BACKEND": SIGNED}}}),
    ("W016", {"STORAGES": {"other": {"BACKEND": SIGNED, "OPTIONS": {"location": "{tmp}/media"}}}}),
    ("", {"STORAGES": {"other": {"BACKEND": SIGNED, "OPTIONS": {"location": "{tmp}/private"}}}}),
]


@pytest.mark.parametrize(("expected", "changes"), SETTINGS, ids=str)
def test_settings(project: Project, expected: str, changes: dict[str, Any]) -> None:
    assert project.check(**changes) == expected.split()


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize(
    ("expected", "engine", "name"),
    [
        ("E005", SQLITE, "{tmp}/media/db.sqlite3"),
        ("E005", "django.contrib.gis.db.backends.spatialite", "{tmp}/media/below/db"),
        ("E005", SQLITE, "media/db.sqlite3"),
        ("", SQLITE, "{tmp}/db.sqlite3"),
        ("", SQLITE, ":memory:"),
        ("", SQLITE, "file:media/db?mode=memory"),
        ("", "django.db.backends.postgresql", "media"),
        ("", None, "media"),
    ],
)
def test_database(
    project: Project, monkeypatch: pytest.MonkeyPatch, expected: str, engine: str | None, name: str
) -> None:
    monkeypatch.chdir(project.folder)
    changes: dict[str, Any] = {"DATABASES": {"default": {"ENGINE": engine, "NAME": name}}}
    assert project.check(**changes) == expected.split()
    if "memory" in name:
        monkeypatch.chdir(project.media)
        assert project.check(**changes) == []


@pytest.mark.parametrize("secret", ["id_rsa", "backup.sql", "dump.SQL.gz", "tls.pem", "tls.key"])
def test_secrets_that_are_served(project: Project, secret: str) -> None:
    (project.media / "below").mkdir()
    (project.media / "below" / secret).touch()
    assert project.check() == []  # no tree of uploads is walked
    (project.media / secret).touch()
    assert project.check() == ["W008"]
    project.write(', Location.media(access="signed")')
    sys.modules.pop(project.module)
    MediaMiddleware.instances.clear()
    assert project.check() == []


@pytest.mark.parametrize("secret", [".env", ".git"])
def test_dotfiles_are_secrets_only_if_they_are_served(project: Project, secret: str) -> None:
    (project.media / secret).touch()
    assert project.check() == []
    project.write(f", Location.media(dotfiles=[{secret!r}])")
    sys.modules.pop(project.module)
    MediaMiddleware.instances.clear()
    assert project.check() == ["W008"]


OTHER = 'Location(url="/other/", root="{tmp}/other"'
LOCATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("", f"Location.media(), {OTHER})", {}),
    # MEDIA_ROOT and MEDIA_URL count only where they are served.
    ("", f"{OTHER})", {"MEDIA_ROOT": "", "MEDIA_URL": ""}),
    ("W015", f"{OTHER})", {}),
    ("", 'Location.storage("default")', {"STORAGES": storages(OPTIONS={"base_url": "/files/"})}),
    ("E003", 'Location.media(), Location(url="/other/", root="{tmp}/file")', {}),
    ("E003", 'Location.media(), Location(url="/o/", root="{tmp}/file", access="internal")', {}),
    (
        "",  # what is handed over is for the application to say
        f'Location.media(), Location(url="/o/", root="{DJANGO}", access="internal")',
        {"INSTALLED_APPS": [STATIC]},
    ),
    (
        "E004",
        f'Location.media(), Location(url="/o/", root="{DJANGO}", access="signed")',
        {"INSTALLED_APPS": [STATIC]},
    ),
    # Static files by a location of their own.
    ("", 'Location.media(), Location(url="/static/", root="{tmp}/static")', {}),
    ("", 'Location.media(), Location(url="/static/", root="{tmp}/x")', {"STATIC_ROOT": None}),
    (
        "",
        'Location.media(), Location(url="/media/static/", root="{tmp}/static")',
        {"STATIC_URL": "/media/static/"},
    ),
    ("E007", 'Location.media(), Location(url="/a/", root="{tmp}/x")', {"STATIC_URL": "/a/static/"}),
    (
        "",
        'Location.media(), Location(url="/a/", root="{tmp}/x", access="internal")',
        {"STATIC_URL": "/a/static/"},
    ),
    ("", "Location.media(fallthrough=True)", {"STATIC_URL": "/media/static/"}),
    # One file, whose URL is the start of others.
    ("", 'Location.media(), Location(url="/s", root="{tmp}/file")', {}),
    ("", 'Location.media(), Location(url="/s", root="{tmp}/file.txt")', {}),
    ("", 'Location.media(), Location(url="/static/sw.js", root="{tmp}/sw.js")', {}),
    # Guarded, and public all the same.
    ("W013", 'Location.media(), Location(url="/p/", root="{tmp}/media", access="internal")', {}),
    ("W013", 'Location.media(), Location(url="/p/", root="{tmp}/media", access="signed")', {}),
    ("W013", f'Location.media(), {OTHER}, access="signed")', {"WHITENOISE_ROOT": "{tmp}/other"}),
    (
        "W013",
        'Location.media(), Location(url="/p/", root="{tmp}/static/p", access=lambda *_: True)',
        {},
    ),
    ("", 'Location.media(), Location(url="/p/", root="{tmp}/media/p", access="internal")', {}),
    ("", 'Location.media(), Location(url="/p/", root="{tmp}/private", access="internal")', {}),
    ("", 'Location.media(access="signed")', {"STORAGES": {"default": {"BACKEND": SIGNED}}}),
    ("", 'Location.storage("default")', {"STORAGES": {"default": {"BACKEND": SIGNED}}}),
    (
        "",
        'Location.media(), Location(url="/p/", root="{tmp}/media/p", access="signed")',
        {"STORAGES": {"x": {"BACKEND": SIGNED, "OPTIONS": {"location": "{tmp}/media/p"}}}},
    ),
    # Uploads that run.
    ("W024", "Location.media(sandbox=False)", {}),
    ("W024", 'Location.media(sandbox=False, host="m.example")', {"ALLOWED_HOSTS": [".example"]}),
    ("", 'Location.media(sandbox=False, host="m.example")', {"ALLOWED_HOSTS": ["w.example"]}),
    (
        "",
        'Location.media(sandbox=False, host="m.example", url="/")',
        {"ALLOWED_HOSTS": ["*"]},
    ),
    ("", 'Location.media(sandbox=False, access="internal")', {}),
    ("", "Location.media(), Location.static()", {}),
    # A folder that depends on the host is not known here.
    ("", 'Location.media(), Location(url="/t/", root=lambda host: None, host=".example")', {}),
]


@pytest.mark.parametrize(("expected", "locations", "changes"), LOCATIONS, ids=str)
def test_locations(
    project: Project, expected: str, locations: str, changes: dict[str, Any]
) -> None:
    project.write(", " + locations)
    assert project.check(**changes) == expected.split()


def test_location_in_the_current_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty MEDIA_ROOT is no folder, though as a path it is the current one."""
    (project.media / "id_rsa").touch()
    monkeypatch.chdir(project.media)
    project.write(', Location(url="/here/", root="{tmp}/media")')
    with project.settings(MEDIA_ROOT=""):
        (found,) = check_project(None)
    assert found.msg.startswith("The root of the location '/here/'")


def test_a_middleware_anywhere_in_the_application_is_found(project: Project) -> None:
    project.write(
        ', Location(url="/o/", root="{tmp}/file")',
        WRAPPED + "inner = application\nasync def application(*args): await inner(*args)",
    )
    assert project.check(STORAGES={}) == ["E003", "W026"]


def test_the_router_of_channels_may_be_the_outermost(project: Project) -> None:
    router = "from channels.routing import *\n"
    project.write("", router + WRAPPED + 'application = ProtocolTypeRouter({"http": application})')
    assert project.check() == []


def test_an_application_without_the_middleware(project: Project) -> None:
    project.write(code="async def application(scope, receive, send): ...")
    assert project.check(STORAGES={}) == ["W004"]


def test_two_middlewares_in_one_application(project: Project) -> None:
    more = "first = application\nfrom tests.unit.test_checks import plain\n"
    more += 'application = MediaMiddleware(plain, Location(url="/c/", root="{tmp}/file"))'
    project.write(', Location(url="/b/", root="{tmp}/loop")', WRAPPED + more)
    assert project.check(STORAGES={}) == ["E003", "W006"]


def static_urls() -> list[Any]:
    with override_settings(DEBUG=True):
        return static("/media/", document_root=settings.MEDIA_ROOT)


def guarded(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return inner


def view(request: Any) -> HttpResponse:
    raise AssertionError


URLCONFS: list[tuple[str, Callable[[], list[Any]]]] = [
    ("W011", static_urls),
    ("W011", lambda: [path("media/<path:path>", serve)]),
    ("W022", lambda: [re_path("^media/(?P<path>.*)$", guarded(serve))]),
    ("W022", lambda: [path("media/<path:path>", partial(guarded(serve), document_root="/x"))]),
    ("W011", lambda: [path("media/<path:path>", partial(serve, document_root="/x"))]),
    ("W011", lambda: [path("", view), path("media/", include([path("<path:path>", serve)]))]),
    ("W011", lambda: [path("", include([path("", include(static_urls()))]))]),
    ("W011", lambda: i18n_patterns(path("x/<path:path>", serve, {"document_root": MEDIA()}))),
    # Under another URL, but these files.
    ("W011", lambda: [path("old/<path:path>", serve, {"document_root": MEDIA()})]),
    ("W011", lambda: [path("old/<path:path>", serve, {"document_root": MEDIA().parent})]),
    ("", lambda: [path("docs/<path:path>", serve, {"document_root": MEDIA() / "docs"})]),
    ("", lambda: [path("docs/<path:path>", serve, {"document_root": None})]),
    ("", lambda: [path("media/<path:path>", view)]),
    ("", lambda: [path("media.css", view), ("not", "a pattern")]),
]


def MEDIA() -> Path:  # noqa: N802
    return Path(settings.MEDIA_ROOT)


@pytest.mark.parametrize(("expected", "urls"), URLCONFS)
def test_urlconf(project: Project, expected: str, urls: Callable[[], list[Any]]) -> None:
    with override_settings(MEDIA_ROOT=project.media):
        urlconf = tuple(urls())
    assert project.check(ROOT_URLCONF=urlconf) == expected.split()


def test_urlconf_under_a_script_name(project: Project) -> None:
    urlconf = (path("media/<path:path>", serve),)
    changes: dict[str, Any] = {"FORCE_SCRIPT_NAME": "/app", "MEDIA_URL": "/app/media/"}
    assert project.check(ROOT_URLCONF=urlconf, **changes) == ["W011"]


def test_a_guarded_view_of_files_that_are_guarded_here_too(project: Project) -> None:
    project.write(", Location.media(access=lambda request, path: True)")
    assert project.check(ROOT_URLCONF=(path("media/<path:path>", guarded(serve)),)) == ["W011"]


def test_a_view_that_the_site_s_login_guards(project: Project) -> None:
    project.write(', Location.media(access="public")')
    urlconf = (path("media/<path:path>", serve),)
    login = ["django.contrib.auth.middleware.LoginRequiredMiddleware"]
    # E009: the middleware can't be imported here, where django.contrib.auth is not installed.
    assert project.check(ROOT_URLCONF=urlconf, MIDDLEWARE=login) == ["E009", "W022"]


def test_urlconf_below_an_internal_location(project: Project) -> None:
    """Its URLs go to the application, whose view would give the files to anyone."""
    internal = 'Location(url="/private/", root="{tmp}/media/private", access="internal")'
    project.write(f", Location.media(), {internal}")
    urlconf = (path("private/<path:path>", serve),)
    assert project.check(ROOT_URLCONF=urlconf) == ["W011"]


DEPLOYMENT: list[tuple[str, int, dict[str, Any]]] = [
    ("", 0o755, {}),
    ("", 0o775, {}),
    ("W017", 0o755, {"MEDIA_ROOT": "{tmp}/none"}),
    ("W018", 0o757, {}),
    ("W018", 0o777, {}),
    ("W018", 0o1777, {}),
    ("", 0o755, {"MEDIA_ROOT": "{tmp}/file"}),  # said without --deploy
    ("", 0o755, {"MEDIA_ROOT": "{tmp}/loop"}),
    ("", 0o755, {"MEDIA_ROOT": ""}),
    ("W019", 0o755, {"DEBUG": True, "MIDDLEWARE": ["whitenoise.middleware.WhiteNoiseMiddleware"]}),
    (
        "W019",
        0o755,
        {
            "WHITENOISE_AUTOREFRESH": True,
            "MIDDLEWARE": ["whitenoise.middleware.WhiteNoiseMiddleware"],
        },
    ),
    (
        "",
        0o755,
        {
            "DEBUG": True,
            "WHITENOISE_AUTOREFRESH": False,
            "MIDDLEWARE": ["whitenoise.middleware.WhiteNoiseMiddleware"],
        },
    ),
    ("", 0o755, {"DEBUG": True}),
    ("W020", 0o755, {"FILE_UPLOAD_PERMISSIONS": None}),
    ("W027", 0o755, {"MEDIA_URL": "media/"}),
    ("W027", 0o755, {"STATIC_URL": "static/"}),
    ("", 0o755, {"MEDIA_URL": "https://cdn.example/media/", "STATIC_URL": None}),
    ("", 0o755, {"MEDIA_URL": "media/", "FORCE_SCRIPT_NAME": "/app"}),  # W010
]


@pytest.mark.parametrize(("expected", "mode", "changes"), DEPLOYMENT, ids=str)
def test_deployment(project: Project, expected: str, mode: int, changes: dict[str, Any]) -> None:
    project.media.chmod(mode)
    assert project.check(deploy=True, **changes) == expected.split()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit('no key')", "SystemExit: no key"),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
        ("import media_asgi\nmedia_asgi.Location.media(url='/')", "so every page"),
        ("import json\njson.loads('{')", "JSONDecodeError"),
    ],
)
def test_error_of_the_application(project: Project, code: str, text: str) -> None:
    project.write(code=code)
    line = f", at {project.code / project.module}.py:{len(code.splitlines())}: "
    with project.settings():
        (found,) = check_project(None)
    assert found.id == "media_asgi.E009"
    assert found.msg.startswith(f"ASGI_APPLICATION ({project.module}.application) can't")
    assert line in found.msg
    assert text in found.msg


def test_application_that_runs_the_checks(project: Project) -> None:
    """Some projects migrate at import, and every command runs the checks first."""
    again = "from media_asgi.checks import *\nassert check_project(None) == []\n"
    project.write(code=again + "assert check_deployment(None) == []\n" + WRAPPED)
    assert project.check() == []


def test_warnings_of_the_application(project: Project) -> None:
    """WhiteNoise warns of a STATIC_ROOT that isn't there yet; it is no matter for each command."""
    project.write(code="import warnings; warnings.warn('no folder')" + WRAPPED)
    assert project.check() == []


def test_application_leaves_logging_alone(project: Project) -> None:
    """get_asgi_application() calls setup() again, which by itself would disable this logger."""
    project.write(code=WRAPPED + "import django; django.setup()")
    with project.settings(LOGGING={"version": 1, "disable_existing_loggers": True}):
        logger = logging.getLogger(f"made before {project.module}")
        assert check_project(None) == []
        assert settings.LOGGING_CONFIG
        assert not logger.disabled


@pytest.mark.parametrize(
    ("expected", "cache", "mode"),
    [
        ("", "none", None),
        ("", "cache", 0o700),
        ("E008", "media/cache", 0o700),
        ("E008", "to_code/static/cache", 0o700),
        ("W021", "cache", 0o750),
        ("W021 W021", "code", 0o755),  # and it holds the code
        ("W021", "file", None),
        ("W021", "loop", None),
    ],
)
def test_caches(project: Project, expected: str, cache: str, mode: int | None) -> None:
    path = project.folder / cache
    if mode:
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    found = caches(project, DiskCache(path, max_size=10**6))
    assert [str(message.id)[-4:] for message in found] == expected.split()
    for message in found:
        assert str(path) in message.msg


def test_two_locations_may_share_a_cache_of_one_size(project: Project) -> None:
    one, other = (DiskCache(project.folder / "cache", max_size=size) for size in (10**6, 10**7))
    assert caches(project, one, one) == []
    assert [message.id for message in caches(project, one, other)] == ["media_asgi.W021"] * 2


def test_a_cache_on_a_network_file_system(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.folder / "cache"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(KERNEL, "is_local", lambda fd: False)
    (message,) = caches(project, DiskCache(path, max_size=10**6))
    assert "network file system" in message.msg


def caches(project: Project, *caches: DiskCache) -> list[CheckMessage]:
    """What is said of locations with these caches, whose objects are in stores."""
    with project.settings():
        media = ServedFolder(str(project.media), "/media/", "")
        locations: list[Any] = [SimpleNamespace(url="/m/", cache=cache) for cache in caches]
        served = [ServedFolder("/no such folder", "/m/", "", location) for location in locations]
        return list(checks._caches([media, *served]))


def test_links_that_pass_a_location_by() -> None:
    options = {"bucket_name": "b", "access_key": "a", "secret_key": "b"}
    for more, expected in (({}, ["media_asgi.W023"]), ({"custom_domain": "a.example/media"}, [])):
        storage = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options | more}
        with override_settings(STORAGES={"default": storage}, MEDIA_URL="/media/"):
            served = MediaMiddleware(MediaMiddleware, Location.storage())  # type: ignore[arg-type]
            stores = [one for one in checks._served_now() if one.location and one.location.alias]
            assert [message.id for message in checks._links(stores)] == expected
            del served
            gc.collect()


def test_restricted_objects_that_a_public_location_serves_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    options = {"bucket_name": "b", "access_key": "a", "secret_key": "b", "location": "private/"}
    storage = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    public = Location(url="/a/", root="s3://b/private/")
    cases: tuple[tuple[Callable[[], Location], int], ...] = (
        (lambda: Location(url="/b/", root="s3://b/private", access="signed"), 1),
        (lambda: Location(url="/b/", root=["s3://c", "s3://b/private"], access="internal"), 1),
        (lambda: Location.storage(url="/b/", access="internal"), 1),
        (lambda: Location(url="/b/", root="s3://b/private/of", access="signed"), 0),
        (lambda: Location(url="/b/", root="s3://b", access="signed"), 0),
        (lambda: Location(url="/b/", root="s3://b/private"), 0),
    )
    for restricted, expected in cases:
        with override_settings(STORAGES={"default": storage}):
            served = MediaMiddleware(plain, public, restricted())
            stores = [one for one in checks._served_now() if one.location in served.locations]
            found = list(checks._exposed_objects(stores))
        assert [message.id for message in found] == ["media_asgi.W013"] * expected
        for message in found:
            assert "(s3://b/private) is restricted" in message.msg
            assert "The location '/a/' makes the same files public" in message.msg


def test_every_check_has_been_seen() -> None:
    seen = {
        key
        for expected, *_ in [*SETTINGS, *LOCATIONS, *URLCONFS, *DEPLOYMENT]
        for key in str(expected).split()
    }
    assert seen | {"E005", "E008", "W008", "W021", "W023", "W026"} == set(CHECKS)


def test_table() -> None:
    # W003 was E009 as a warning.
    warnings = [f"W{n:03}" for n in range(1, 28) if n != 3]
    assert list(CHECKS) == [*(f"E{n:03}" for n in range(1, 11)), *warnings]
    for check in CHECKS.values():
        names = {name for _, name, *_ in string.Formatter().parse(check.sentence) if name}
        assert re.fullmatch(r".*[.}]", check.sentence)
        assert all(name.isidentifier() for name in names)


def test_the_table_of_checks_has_their_texts() -> None:
    deployed = {expected for expected, *_ in DEPLOYMENT}
    rows = []
    for key, check in CHECKS.items():
        level = {"E": "error", "W": "warning"}[key[0]]
        level += ", `--deploy`" if key in deployed else ""
        cells = f"`media_asgi.{key}`", level, check.sentence, check.cure
        rows.append(re.sub(r"\{(\w+)\}", r"*\1*", f"| {' | '.join(cells)} |"))
    readme = (ROOT / "media_asgi" / "README.md").read_text().splitlines()
    assert [line for line in readme if line.startswith("| `media_asgi.")] == rows


# As a project has it: "media_asgi" in INSTALLED_APPS, and manage.py in a process of its own.

SITE = ROOT / "tests" / "site"
PYTHON = [sys.executable, "-W", "error"]


def manage(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Without root's right to read everything, where that is who runs the tests."""
    done = subprocess.run(
        [*unprivileged(), *PYTHON, "manage.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A project from ``startproject``, with the line in asgi.py, and its settings."""
    call_command("startproject", "mysite", str(tmp_path))
    asgi = tmp_path / "mysite" / "asgi.py"
    asgi.write_text(
        asgi.read_text() + "from media_asgi import MediaMiddleware\n"
        "application = MediaMiddleware(application)\n"
    )
    with open(tmp_path / "mysite" / "settings.py", "a") as more:
        more.write(
            'INSTALLED_APPS += ["media_asgi"]\n'
            'ASGI_APPLICATION = "mysite.asgi.application"\n'
            'MEDIA_URL = "media/"\n'
            'MEDIA_ROOT = BASE_DIR / "media"\n'
        )
    return tmp_path


def append(project: Path, text: str) -> None:
    with open(project / "mysite" / "settings.py", "a") as more:
        more.write(text)


def found(output: str) -> list[str]:
    return re.findall(r"media_asgi\.([EW]\d{3})", output)


def test_manage_py_check_deploy(started: Path) -> None:
    status, output = manage(started, "check", "--deploy", "--tag", "media_asgi")
    assert status == 0, output
    assert found(output) == ["W005", "W017", "W027", "W027"]
    assert "HINT: Create or mount it." in output
    (started / "media").mkdir()
    append(started, 'MEDIA_URL, STATIC_URL = "/media/", "/static/"\n')
    append(started, 'DEBUG = False\nSILENCED_SYSTEM_CHECKS = ["media_asgi.W018"]\n')
    (started / "media").chmod(0o777)
    status, output = manage(started, "check", "--deploy", "--tag", "media_asgi")
    assert (status, output) == (0, "System check identified no issues (1 silenced).\n")
    append(started, "MEDIA_ROOT = BASE_DIR\n")
    status, output = manage(started, "check", "--tag", "media_asgi")
    assert status == 1
    assert found(output) == ["E004", "E005", "E009"]
    assert f"({started}/mysite), which clients could download" in output


def test_manage_py_check_as_startproject_leaves_it(started: Path) -> None:
    """The app alone is not enough, and each thing that is missing is named."""
    text = (started / "mysite" / "settings.py").read_text()
    (started / "mysite" / "settings.py").write_text(text.partition("ASGI_APPLICATION")[0])
    status, output = manage(started, "check")
    assert status == 1
    assert sorted(found(output)) == ["E001", "E002", "W002", "W005"]
    assert 'Set ASGI_APPLICATION = "mysite.asgi.application"' in output


@pytest.mark.parametrize(
    "mode",
    [0o000, *[pytest.param(mode, marks=pytest.mark.slow) for mode in (0o300, 0o600)]],
    ids=oct,
)
def test_unreadable_folder(mode: int, started: Path) -> None:
    need_unprivileged()
    append(started, "DEBUG = False\n")
    media = started / "media"
    media.mkdir()
    media.chmod(mode)
    status, output = manage(started, "check")
    assert status == 0
    assert found(output) == ["W006"]
    assert "can't be read: Permission denied." in output
    media.chmod(stat.S_IRWXU)


@pytest.mark.slow
def test_demonstration_site(tmp_path: Path) -> None:
    for folder in ("media", "protected", "shared"):
        (tmp_path / folder).mkdir()
    env = {"SITE_DATA": str(tmp_path), "SITE_HTTPS": "1"}
    status, output = manage(SITE, "check", "--deploy", **env)
    assert (status, output) == (0, "System check identified no issues (0 silenced).\n")
    status, output = manage(SITE, "check", "--list-tags", **env)
    assert "media_asgi" in output.split()


def test_registered_once() -> None:
    with override_settings(INSTALLED_APPS=["media_asgi"]):
        messages = run_checks(tags=["media_asgi"])
    assert {message.id for message in messages} == {
        f"media_asgi.{x}" for x in ("E001", "E002", "W001")
    }
    assert len(messages) == 3
