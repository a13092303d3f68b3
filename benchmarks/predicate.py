"""A file of 1 KiB that a predicate allows, beside a bare Django view and one that hands over.

In process, like the part asgi, within the middleware of Django's startproject.
"""

import asyncio
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import median
from typing import Any, cast

from benchmarks.asgi import Round, answer, interleaved, scope_for
from benchmarks.contenders import Application
from benchmarks.media import CASES, media
from benchmarks.paired import difference, significant
from benchmarks.processes import cores, pin
from benchmarks.report import Report, Steps, Table, steps

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TITLES = {
    "/view/1KiB.jpg": "a bare view",
    "/async-view/1KiB.jpg": "a bare async view",
    "/hand-over/1KiB.jpg": "an async view that hands over",
    "/predicate/1KiB.jpg": "a predicate",
    "/async-predicate/1KiB.jpg": "an async predicate",
}

urlpatterns: list[Any] = []


def application(root: Path) -> Application:
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SECRET_KEY="for nothing but the benchmark",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse
    from django.urls import path

    from media_asgi import Location, MediaMiddleware

    content = (root / "1KiB.jpg").read_bytes()

    def view(request: Any, name: str) -> HttpResponse:
        return HttpResponse(content)

    async def async_view(request: Any, name: str) -> HttpResponse:
        return HttpResponse(content)

    async def hand_over(request: Any, name: str) -> HttpResponse:
        return HttpResponse(headers={"X-Accel-Redirect": f"/internal/{name}"})

    def predicate(request: Any, name: str) -> bool:
        return True

    async def async_predicate(request: Any, name: str) -> bool:
        return True

    urlpatterns.extend(
        [
            path("view/<name>", view),
            path("async-view/<name>", async_view),
            path("hand-over/<name>", hand_over),
        ]
    )
    return MediaMiddleware(
        cast(Application, get_asgi_application()),
        Location(url="/internal/", root=root, access="internal"),
        Location(url="/predicate/", root=root, access=predicate),
        Location(url="/async-predicate/", root=root, access=async_predicate),
    )


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help="rounds (15, quick: 3)")
    parser.add_argument("--seconds", type=float, help="of each measurement (0.3, quick: 0.05)")


def run(arguments: Namespace) -> bool:
    rounds = arguments.rounds or (3 if arguments.quick else 15)
    seconds = arguments.seconds or (0.05 if arguments.quick else 0.3)
    pin(cores()[0])
    with media() as files, steps("predicate", len(TITLES) * rounds) as step:
        files.for_case(CASES["1KiB"])
        measured = asyncio.run(measure(application(files.root), rounds, seconds, step))
    times = {path: [one.wall * 1e6 for one in each] for path, each in measured.items()}
    rows = []
    for path, title in TITLES.items():
        row = [title, significant(median(times[path]))]
        row.append(significant(median(one.cpu * 1e6 for one in measured[path])))
        row.append(str(difference(times[path], times["/async-view/1KiB.jpg"])))
        rows.append(row)
    Report("predicate", arguments).write(
        "A predicate beside a bare Django view",
        f"1 KiB, called in process, {rounds} interleaved rounds of {seconds:g} s each. Median µs; "
        "differences are taken round by round, their median with [lowest–highest].",
        [Table("1 KiB", ["", "µs", "CPU µs", "µs more than a bare async view"], rows, [])],
        measured,
    )
    return True


async def measure(
    app: Application, rounds: int, seconds: float, step: Steps
) -> dict[str, list[Round]]:
    scopes = {path: [scope_for(path, {})] for path in TITLES}
    for path, (scope,) in scopes.items():
        status, _, body = await answer(app, scope)
        if (status, len(body)) != (200, 1024):
            raise AssertionError(f"{path}: {status} with {len(body)} bytes is not the answer")
    return await interleaved(dict.fromkeys(TITLES, app), scopes, rounds, seconds, step.done)
