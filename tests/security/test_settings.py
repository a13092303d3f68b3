"""Django's security settings on media, beside what Django's own middleware makes of a page."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..support.client import Connection, Response
from ..support.servers import Server

SECURITY = "django.middleware.security.SecurityMiddleware"
OWN = "tests.security.project.OwnSecurityMiddleware"
HTTPS = {"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"]}

# What SecurityMiddleware adds to every answer, or answers itself.
COMPARED = ("strict-transport-security", "referrer-policy", "x-content-type-options", "location")

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no policy": {"SECURE_REFERRER_POLICY": None},
    "several policies": {"SECURE_REFERRER_POLICY": "no-referrer, strict-origin"},
    "policies in a list": {"SECURE_REFERRER_POLICY": ["no-referrer", "same-origin"]},
    "hsts": {"SECURE_HSTS_SECONDS": 3600, **HTTPS},
    "hsts, all of it": {
        "SECURE_HSTS_SECONDS": 31536000,
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        "SECURE_HSTS_PRELOAD": True,
        **HTTPS,
    },
    "hsts, no header": {"SECURE_HSTS_SECONDS": 3600},
    "redirect": {"SECURE_SSL_REDIRECT": True, "SECURE_HSTS_SECONDS": 60, **HTTPS},
    "redirect, host": {"SECURE_SSL_REDIRECT": True, "SECURE_SSL_HOST": "safe.example", **HTTPS},
    "redirect, exempt": {
        "SECURE_SSL_REDIRECT": True,
        "SECURE_REDIRECT_EXEMPT": [r"^media/open/", r"^page/open/"],
        **HTTPS,
    },
    "another header": {
        "SECURE_SSL_REDIRECT": True,
        "SECURE_PROXY_SSL_HEADER": ["HTTP_X_SCHEME", "tls"],
        "SECURE_HSTS_SECONDS": 60,
    },
}

# Each takes a server of its own.
QUICK = ("hsts, all of it", "redirect, exempt")

# Header lines from a proxy, or from a client that plays one.
REQUESTS: list[list[tuple[str, str]]] = [
    [],
    [("X-Forwarded-Proto", "https")],
    [("X-Forwarded-Proto", "http")],
    [("X-Forwarded-Proto", "https, http")],
    [("X-Forwarded-Proto", "http,https")],
    [("X-Forwarded-Proto", " https ")],
    [("X-Forwarded-Proto", "HTTPS")],
    [("X-Forwarded-Proto", "")],
    [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")],
    [("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")],
    [("X_Forwarded_Proto", "https")],
    [("X-Scheme", "tls")],
]


@contextmanager
def served(root: Path, settings: dict[str, Any], **server: Any) -> Iterator[Server]:
    for name in ("a.txt", "open/a.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a file")
    env = {"PROJECT_SETTINGS": json.dumps({"MEDIA_ROOT": str(root), **settings})}
    with Server("daphne", "tests.security.project:application", env=env, **server) as started:
        yield started


def compared(response: Response) -> dict[str, Any]:
    return {name: response.all(name) for name in COMPARED}


@pytest.mark.parametrize(
    ("middleware", "settings"),
    [
        *(
            pytest.param(SECURITY, name, marks=[pytest.mark.slow] * (name not in QUICK))
            for name in SETTINGS
        ),
        *(
            pytest.param(OWN, name, marks=pytest.mark.slow)
            for name in ("several policies", "redirect", "redirect, exempt")
        ),
    ],
)
def test_media_gets_what_a_page_gets(middleware: str, settings: str, tmp_path: Path) -> None:
    with (
        served(tmp_path, {"MIDDLEWARE": [middleware], **SETTINGS[settings]}) as server,
        Connection(server) as client,
    ):
        for name, headers in itertools.product(("a.txt", "open/a.txt"), REQUESTS):
            page = client.get(f"/page/{name}", headers)
            media = client.get(f"/media/{name}", headers)
            for response in (page, media):
                assert response.status in (200, 301)
            assert media.status == page.status, headers
            location = {
                "location": [url.replace("/page/", "/media/") for url in page.all("location")]
            }
            assert compared(media) == compared(page) | location, headers
        # Every answer, not the files' alone; the redirect comes before everything else.
        for method, path, status in (
            ("GET", "/{}/none", {200: 404}),
            ("GET", "/{}/a.txt?query=%20", {200: 200}),
            ("POST", "/{}/a.txt", {200: 405}),
            ("HEAD", "/{}/a.txt", {200: 200}),
        ):
            for headers in REQUESTS[:2]:
                page = client.get(path.format("page"), headers, method=method)
                media = client.get(path.format("media"), headers, method=method)
                assert media.status == status.get(page.status, page.status), (method, path)
                location = {
                    "location": [url.replace("/page/", "/media/") for url in page.all("location")]
                }
                assert compared(media) == compared(page) | location


@pytest.mark.parametrize(
    "settings",
    [
        "hsts, all of it",
        pytest.param("redirect", marks=pytest.mark.slow),
        pytest.param("several policies", marks=pytest.mark.slow),
    ],
)
def test_nothing_of_it_without_the_middleware(settings: str, tmp_path: Path) -> None:
    with (
        served(tmp_path, {"MIDDLEWARE": [], **SETTINGS[settings]}) as server,
        Connection(server) as client,
    ):
        for headers in REQUESTS:
            page = client.get("/page/a.txt", headers)
            media = client.get("/media/a.txt", headers)
            assert (page.status, media.status) == (200, 200)
            assert not any(compared(page).values())
            nosniff = {"x-content-type-options": ["nosniff"]}
            assert compared(media) == compared(page) | nosniff


def test_over_tls_the_scheme_alone_is_enough(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "MIDDLEWARE": [SECURITY],
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 3600,
    }
    with served(tmp_path, settings, tls=True) as server, Connection(server) as client:
        page, media = client.get("/page/a.txt"), client.get("/media/a.txt")
        assert (page.status, media.status) == (200, 200)
        assert media["strict-transport-security"] == "max-age=3600"
        assert compared(media) == compared(page)
