"""The README is true: its code runs, its tables are the code's own, its links lead somewhere."""

import ast
import asyncio
import configparser
import dataclasses
import functools
import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from media_asgi import DiskCache, Location, MediaMiddleware
from media_asgi.check_messages import CHECKS
from media_asgi.signing import sign_prefix, sign_url
from media_asgi.storage import ServedStorage, SignedMediaStorage

from .support import nginx
from .support.readme import PAGES as GUIDES
from .support.readme import README
from .support.servers import ROOT

PAGES = GUIDES | {
    name: (ROOT / name).read_text()
    for name in (
        "media_asgi/README.md",
        "benchmarks/README.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
    )
}
MAP = "media_asgi/README.md"
OPTIONS = "media_asgi/guides/options.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (f"{name}:{text[: match.start()].count(chr(10)) + 1}", match[1], match[2])
    for name, text in PAGES.items()
    for match in BLOCK.finditer(text)
]
YAML = [code for _, language, code in BLOCKS if language == "yaml"]
PROSE = {name: BLOCK.sub("", text) for name, text in PAGES.items()}


def blocks(language: str) -> list[Any]:
    return [pytest.param(code, id=place) for place, kind, code in BLOCKS if kind == language]


def section(title: str, page: str = "README.md") -> str:
    """What stands below a heading of the second level."""
    pattern = rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)"
    match = re.search(pattern, PROSE[page], re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[1]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of the rows of each table, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            for line in table.splitlines()[2:]
        ]
        for table in found
    ]


# What a reader pastes together: the blocks below one heading, or below one line in bold.
STORY = re.compile(r"^(?=##+ |\*\*\w)", re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.py)\b")


def stories() -> dict[str, list[tuple[str, str]]]:
    """The file and the text of each Python block, by the first words of its story."""
    found = {}
    for story in (story for page in GUIDES.values() for story in STORY.split(page)):
        codes = [code for language, code in BLOCK.findall(story) if language == "python"]
        if codes:
            title = re.sub(r"[^\w ]", "", story.strip().splitlines()[0])[:40].strip()
            found[title] = [(FILE.match(code)[1], code) for code in codes]  # type: ignore[index]
    return found


STORIES = stories()
FIRST = STORIES["mediaasgi"]
# What tests/objects/test_settings.py runs, with real stores.
OF_STORES = [
    title
    for title, blocks in STORIES.items()
    if any("bucket_name" in code or "azure_container" in code for _, code in blocks)
]

GET = """
async def get(path):
    sent = []

    async def send(message):
        sent.append(message)

    coming = [{"type": "http.request", "body": b""}]

    async def receive():
        return coming.pop() if coming else await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
        "scheme": "https", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"x-forwarded-proto", b"https")],
        "client": ("127.0.0.1", 4711), "http_version": "1.1",
    }
    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
"""

# What the project does then: Django starts it, checks it, and a client asks for an upload.
RUN = f"""
import asyncio, importlib, os, sys
from pathlib import Path

sys.path.insert(0, os.getcwd())
application = importlib.import_module("mysite.asgi").application

from django.conf import settings
from django.core.management import call_command

Path(settings.MEDIA_ROOT).mkdir()
Path(settings.MEDIA_ROOT, "hello.txt").write_text("hello")
call_command("makemigrations", verbosity=0)
if settings.STATIC_ROOT:
    call_command("collectstatic", interactive=False, verbosity=0)
call_command("check", fail_level="WARNING")
for module in sys.argv[1:]:
    importlib.import_module(module)
{GET}
assert asyncio.run(get("/media/hello.txt")) == (200, b"hello")
if settings.STATIC_ROOT or "StaticFiles" in Path("mysite/asgi.py").read_text():
    assert asyncio.run(get("/static/admin/css/base.css"))[0] == 200
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("project")
    startproject = [sys.executable, "-m", "django", "startproject", "mysite", str(project)]
    subprocess.run(startproject, check=True, timeout=60)
    return project


def paste(project: Path, file: str, code: str) -> None:
    """As the README says: settings at the end, and in asgi.py in place of the last statement."""
    path = project / file
    if path.name == "settings.py":
        path.write_text(path.read_text() + "\n" + code)
    elif path.name == "asgi.py" and "os.environ.setdefault" not in code:
        *_, last = ast.parse(path.read_text()).body
        assert isinstance(last, ast.Assign)
        kept = path.read_text().splitlines()[: last.lineno - 1]
        path.write_text("\n".join(kept) + "\n" + code)
    else:
        if not path.parent.exists():  # an app of the reader's
            app = path.parent.name
            startapp = [sys.executable, "manage.py", "startapp", app]
            subprocess.run(startapp, cwd=project, check=True, timeout=60)
            paste(project, "mysite/settings.py", f'INSTALLED_APPS += ["{app}"]\n')
        path.write_text(code)


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("title", [title for title in STORIES if title not in OF_STORES])
def test_what_is_pasted_into_a_new_project_runs(title: str, started: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(started, project)
    blocks = FIRST if STORIES[title] is FIRST else [*FIRST, *STORIES[title]]
    for file, code in blocks:
        paste(project, file, code)
    modules = [file.removesuffix(".py").replace("/", ".") for file, _ in blocks]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, *modules],
        cwd=project,
        env={key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_python_block_is_pasted_somewhere() -> None:
    pasted = [code for story in STORIES.values() for _, code in story]
    assert [code for _, language, code in BLOCKS if language == "python"] == pasted


def test_no_block_is_of_a_kind_that_is_not_tested() -> None:
    assert {language for _, language, _ in BLOCKS} <= {
        *("python", "console", "ini", "dockerfile", "nginx", "text", "yaml")
    }


@pytest.mark.parametrize("code", blocks("nginx"))
def test_nginx(code: str) -> None:
    """What tests/security/test_shared_caches.py runs, but for folders and sizes."""
    if "server {" in code:
        return  # in tests/real/test_proxies.py
    for directive in re.findall(r"^    (proxy_\w+ .*?;)", code, re.MULTILINE):
        assert directive.replace(":8000", ":{behind}") in nginx.CONFIGURATION


@pytest.mark.parametrize("code", blocks("yaml"))
def test_yaml(code: str) -> None:
    file = yaml.safe_load(code)
    match list(file):
        case ["entryPoints", "certificatesResolvers", "providers"]:  # Traefik
            resolver = file["entryPoints"]["websecure"]["http"]["tls"]["certResolver"]
            assert resolver in file["certificatesResolvers"]
            assert f"# {file['providers']['file']['filename']}\n" in "".join(YAML)
        case ["http"]:
            service = file["http"]["services"][file["http"]["routers"]["mysite"]["service"]]
            assert service == {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:8000"}]}}
        case ["services", "volumes"]:  # Docker
            assert file["services"]["web"].get("read_only", "store" in file["services"]) is True
            mounted = [
                volume.partition(":")[0]
                for service in file["services"].values()
                for volume in service.get("volumes", [])
            ]
            assert [name for name in mounted if name[0] != "."] == list(file["volumes"])
        case _:
            pytest.fail(f"nobody has tried {code!r}")


@pytest.mark.parametrize("code", blocks("text"))
def test_text(code: str) -> None:
    if "─▶" in code:
        for name in code.splitlines()[0].split(" ─▶ ")[1:-1]:
            path = ROOT / "media_asgi" / name.strip()
            assert path.is_dir() or path.with_suffix(".py").is_file()
    else:
        assert re.fullmatch(r"[\w.]+ \{\n    reverse_proxy 127\.0\.0\.1:8000\n\}\n", code)


@pytest.mark.parametrize("code", blocks("console"))
def test_console(code: str, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    lines = [*groups["demo"], *(line for line in groups["dev"] if isinstance(line, str))]
    available = {re.split(r"[<>=\[]", line)[0] for line in lines}
    for line in code.splitlines():
        for command in line.split(" && "):
            match command.split():
                case ["pip", "install", *packages]:
                    names = {package.strip('"').split("[")[0] for package in packages}
                    assert names - {"--upgrade"} <= {"uv", project["project"]["name"], *available}
                case ["python3", "-m", "venv", ".venv"] | [".", ".venv/bin/activate"]:
                    pass
                case ["uv", "run", "pytest"]:
                    assert "pytest" in available
                case ["find", "staticfiles", *_]:
                    check_compression(command, tmp_path)
                case [
                    "uv", "run", "--no-default-groups", "--group", "demo",
                    "python", script, *arguments,
                ] | ["uv", "run", "python", script, *arguments]:  # fmt: skip
                    done = subprocess.run(
                        [sys.executable, script, *arguments, "--help"],
                        cwd=ROOT,
                        capture_output=True,
                        text=True,
                        timeout=60,
                    )
                    assert done.returncode == 0, done.stderr
                    assert done.stdout.startswith("usage:")
                case ["daphne", *arguments]:
                    check_daphne(arguments)
                case ["uvicorn" | "hypercorn" | "granian" | "gunicorn", *_]:
                    pass  # in tests/real
                case ["uv", "run", "--group", "bench", "python", "-m", "benchmarks", part, *_]:
                    # The group is not installed here.
                    assert part == "--quick" or (ROOT / "benchmarks" / f"{part}.py").exists()
                case ["apt-get", "install", *packages]:
                    assert all(name in (ROOT / ".ci/run").read_text() for name in packages)
                case ["git", "worktree", "add", _, "main"]:
                    pass  # takes a repository to itself
                case ["python", "manage.py", *_] | ["django-admin", "startproject", *_]:
                    pass  # in tests/real, step by step
                case _:
                    pytest.fail(f"nobody has tried {command!r}")


def check_compression(command: str, project: Path) -> None:
    static = project / "staticfiles"
    (static / "admin").mkdir(parents=True)
    for name in ("a b.css", "admin/a.js", "a.png", "acss"):
        (static / name).write_bytes(b"a" * 1000)
    subprocess.run(["/bin/sh", "-c", command], cwd=project, check=True, timeout=60)
    packed = {path.name: path for path in static.rglob("*.gz")}
    assert packed.keys() == {"a b.css.gz", "a.js.gz"}
    for path in packed.values():
        assert path.with_suffix("").stat().st_mtime == pytest.approx(path.stat().st_mtime, abs=1e-3)


@functools.cache
def options_of_daphne() -> str:
    # Its parser can't be imported here: that would install a reactor.
    done = subprocess.run(
        [sys.executable, "-m", "daphne", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_daphne(arguments: list[str]) -> None:
    *options, application = arguments
    assert application == "mysite.asgi:application"
    for option in options:
        if option.startswith("-"):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", options_of_daphne()), option


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("code", blocks("dockerfile"))
def test_dockerfile(code: str) -> None:
    commands = re.findall(r"^CMD (.+)$", code, re.MULTILINE)
    assert commands
    for command in commands:
        program, *arguments = json.loads(command)
        assert program == "daphne"
        check_daphne(arguments)


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("code", blocks("ini"))
def test_ini(code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(code)
    if "Socket" in parser:
        # Each process has a socket of its own, at one address.
        assert parser["Socket"]["ReusePort"] == "yes"
        (name,) = re.findall(r"# .*/(.+)[.]socket\n", code)
        assert f"/{name}.service\n" in README
    elif "Service" in parser:
        program, *arguments = parser["Service"]["ExecStart"].split()
        assert program.endswith("/daphne")
        check_daphne(arguments)
    else:
        pattern = parser["Definition"]["failregex"].replace("<HOST>", r"(?P<host>[0-9.]+)")
        (line,) = refused(tmp_path, caplog)
        match = re.search(pattern, line)
        assert match
        assert match["host"] == "203.0.113.5"


def refused(folder: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of a request that climbs."""
    (folder / "media").mkdir()
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def unreachable(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope)

    application = MediaMiddleware(
        unreachable, Location(url="/media/", root=folder / "media", cache_control="no-cache")
    )
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/media/../../etc/passwd",
        "raw_path": b"/media/../../etc/passwd",
        "query_string": b"",
        "headers": [],
        "client": ("203.0.113.5", 4711),
    }
    with caplog.at_level(logging.INFO, "media_asgi"):
        # A fresh loop for each call, so that tests without a loop may use it.
        asyncio.run(application(scope, receive, send))
    assert sent[0]["status"] == 404
    return [record.getMessage() for record in caplog.records if record.name == "media_asgi"]


def test_the_line_of_a_refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (line,) = refused(tmp_path, caplog)
    assert f"`{line}`" in section("Logging", "media_asgi/guides/operating.md")


# A row of the logging table: some words of it, and how the lines that it stands for begin.
EVENTS = [
    ("WARNING", "refused client=", ["refused client=%s path=%r: %s"]),
    (
        "WARNING",
        "hands over a file that can't be served",
        ["%r: the application hands over %r beneath %s, which can't be served: %r"],
    ),
    ("WARNING", "cut off: the client took nothing", ["%r cut off: %s"]),
    ("WARNING", "a name that begins with a dot", ["%r beneath %s is not served, since it"]),
    ("WARNING", "a store denies access", ["%r: answered 404, since the store denies access"]),
    ("WARNING", "the root of a location is missing", ["the root %r can't be opened: %s"]),
    ("WARNING", "something has wrapped", ["Something has wrapped Daphne's send()"]),
    ("WARNING", "flow control is off", ["flow control is off for %s: Twisted %s has no %s."]),
    (
        "ERROR",
        "can't be read",
        ["%r can't be read: %s", "%r cut off: %s"],
    ),
    ("ERROR", "the disk of a location has not answered", []),  # a reason in the lines above
    (
        "ERROR",
        "a callable of a location failed",
        [
            "%r: no answer could be made",
            "%r: the answer of a predicate ended early",
            "%r: access can't be asked: %s",
        ],
    ),
    (
        "ERROR",
        "not in an internal location",
        ["%r: the application hands over %r, which is not in an internal location"],
    ),
]


def logged() -> set[tuple[str, str]]:
    """The level and the text of each line that the package can log, debugging left out."""
    found = set()
    for path in (ROOT / "media_asgi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level),
                    args=[ast.Constant(value=str(text)), *_],
                ) if level != "debug":
                    found.add((level.upper(), text))
    return found


def test_logging() -> None:
    (table,) = tables(section("Logging", "media_asgi/guides/operating.md"))
    assert len(table) == len(EVENTS)
    left = logged()
    for (level, text), (expected, words, lines) in zip(table, EVENTS, strict=True):
        assert level == f"`{expected}`"
        assert words in text
        for line in lines:
            (found,) = [(at, text) for at, text in left if at == expected and text.startswith(line)]
            left.remove(found)
    assert not left, "lines that the README does not name"


def options_of(title: str) -> dict[str, list[str]]:
    """The rows of the options below a heading of their guide, by name."""
    (table,) = tables(section(title, OPTIONS))
    return {row[0].strip("`"): row[1:] for row in table}


def test_the_options_of_the_middleware() -> None:
    table = options_of("MediaMiddleware")
    parameters = inspect.signature(MediaMiddleware).parameters
    assert list(table) == [
        f"*{name}" if parameter.kind is parameter.VAR_POSITIONAL else name
        for name, parameter in parameters.items()
    ]
    for name, (_, default, _) in table.items():
        parameter = parameters[name.lstrip("*")]
        if parameter.default is parameter.empty:
            assert default in ("", "`Location.media()`")
        else:
            assert ast.literal_eval(default.strip("`")) == parameter.default, name


@pytest.mark.parametrize("options", [Location, DiskCache])
def test_the_options_of_a_location_and_of_its_cache(options: type[Location | DiskCache]) -> None:
    table = options_of(options.__name__)
    fields = {field.name: field for field in dataclasses.fields(options) if field.init}
    assert list(table) == list(fields)
    types = {"bool": bool, "str": str}
    for name, (type_, default, _) in table.items():
        value = fields[name].default
        if value is dataclasses.MISSING:
            assert default == "", name
        elif value is None:
            assert default == "none" or name in ("access", "cache_control"), name
        else:
            assert ast.literal_eval(default.strip("`")) == value, name
            assert isinstance(value, types.get(type_, object)), name


def test_the_options_of_storages_and_of_links() -> None:
    table = options_of("Storages")
    own = inspect.signature(SignedMediaStorage.__init__).parameters
    assert list(table) == [name for name in own if name not in ("self", "options")]
    for name, (_, default, _) in table.items():
        value = None if default == "none" else ast.literal_eval(default.strip("`"))
        assert own[name].default == value, name
    served = inspect.signature(ServedStorage.__init__).parameters
    assert served.keys() - own.keys() == {"arguments", "signed"}
    assert own.keys() - served.keys() == {"location"}
    of_url, of_prefix = (inspect.signature(sign).parameters for sign in (sign_url, sign_prefix))
    assert list(of_url) == ["url", "expires_in", "window", "download", "host", "now"]
    assert of_url.keys() - of_prefix.keys() == {"download"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, '`"no-cache"`'),
        ({"access": "internal"}, '`"private, no-cache"` if access isn\'t public'),
    ],
)
def test_the_default_of_cache_control(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    table = options_of("Location")
    location = Location(url="/x/", root=tmp_path, **options)
    assert words in table["cache_control"][1]
    assert location.cache_control_for("a") == words.split("`")[1].strip('"')


def test_the_options_of_the_front_page() -> None:
    settings.SECRET_KEY = "for signed links"  # override_settings could not go back to having none
    (table,) = tables(section("Options"))
    for code, meaning in table:
        options = {"url": "/media/", "root": "/srv/media"} | eval(f"dict({code.strip('`')})")
        location = Location(**options)
        if "immutable" in options:
            (name,) = re.findall(r"`(.+?)`", meaning)
            assert "max-age=31536000" in location.cache_control_for(name)


def test_system_checks() -> None:
    levels = {"E": "error", "W": "warning"}
    (table,) = tables(section("System checks", MAP))
    found = {re.sub(r"[`*]|media_asgi\.", "", row[0]): " ".join(row[1:]) for row in table}
    assert list(found) == list(CHECKS)
    for key, text in found.items():
        assert levels[key[0]] in text.lower(), key


def test_modules() -> None:
    table = tables(section("The modules", MAP))[0]
    named = [name for row in table for name in re.findall(r"`([\w/]+\.py)`", row[0])]
    package = ROOT / "media_asgi"
    assert sorted(named) == sorted(
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    )


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(name: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^##+ (.+)$", PROSE[name], re.MULTILINE)}


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE[name]):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(str(file.resolve().relative_to(ROOT))), target


def test_the_front_page_names_every_guide() -> None:
    links = re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \|", section("Guides"), re.MULTILINE)
    assert sorted(links) == sorted(GUIDES.keys() - {"README.md"})


@pytest.mark.parametrize("name", [name for name in GUIDES if name != "README.md"])
def test_a_guide_begins_with_what_it_is_for(name: str) -> None:
    """And it says how its blocks are pasted, if it has any."""
    heading, empty, first, *_ = GUIDES[name].splitlines()
    assert heading.startswith("# ")
    assert not empty
    assert re.match(r"[A-Z][^|*]+[.]", first)
    if "\n```python\n" in GUIDES[name]:
        assert "(../../README.md#recipes)" in first


def test_no_sentence_stands_in_two_files() -> None:
    seen: dict[str, str] = {}
    for name, text in PROSE.items():
        plain = re.sub(r"\]\([^)]*\)|[*`[\]]", "", text)
        for sentence in re.split(r"(?<=[.:;]) +|[|\n]+", plain):
            if len(sentence.split()) >= 7:
                assert seen.setdefault(sentence.strip(" -"), name) == name, sentence


def test_contents() -> None:
    """Every section is in the table of contents, in its order."""
    (line,) = [line for line in PAGES["README.md"].splitlines() if line.startswith("**Contents:**")]
    headings = re.findall(r"^## (.+)$", PROSE["README.md"], re.MULTILINE)
    assert re.findall(r"\[([^]]+)\]\(#", line) == headings


@pytest.mark.parametrize("name", PAGES)
def test_paths(name: str) -> None:
    for path in re.findall(r"`((?:tests|benchmarks|media_asgi|\.ci)/[\w./]*)`", PROSE[name]):
        assert (ROOT / path).exists(), path
