"""``error_pages``: the project's own handlers and templates answer for a 403 or 404 of media."""

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.signing import SignatureExpired
from django.db import connections
from django.http import HttpResponse
from django.test import override_settings

from media_asgi import Location
from media_asgi.signing import sign_url

from ..support import Serve, ask

PAGE = [(b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")]
IMAGE = [(b"accept", b"image/avif,image/webp,*/*;q=0.8")]
TEMPLATES = {"404.html": "no page {{ request.path }}", "403.html": "refused: {{ exception }}"}


class Marks:
    """A middleware of the project's."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response["X-Marked"] = "yes"
        response["Cache-Control"] = "max-age=3600"
        if "seen" not in request.COOKIES:
            response.set_cookie("seen", "1")
        return response


@pytest.fixture(autouse=True)
def site() -> Iterator[None]:
    loaders = [("django.template.loaders.locmem.Loader", TEMPLATES)]
    backend = "django.template.backends.django.DjangoTemplates"
    context = ["django.template.context_processors.request"]
    options = {"loaders": loaders, "context_processors": context}
    with override_settings(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[f"{__name__}.Marks"],
        TEMPLATES=[{"BACKEND": backend, "OPTIONS": options}],
    ):
        # override_settings could not go back to having none.
        vars(settings)["SECRET_KEY"] = "for these tests alone"
        yield
    vars(settings).pop("SECRET_KEY", None)


def test_a_page_gets_the_404_of_the_site(serve: Serve) -> None:
    application = serve(error_pages=True)
    for method in ("GET", "HEAD"):
        answer = ask(application, "/media/<none>", method, PAGE)
        assert answer.status == 404
        assert answer.has(
            cache_control="no-store",
            x_content_type_options="nosniff",
            x_marked="yes",
            content_type="text/html; charset=utf-8",
        )
    assert ask(application, "/media/<none>", headers=PAGE).body == b"no page /media/&lt;none&gt;"
    assert ask(application, "/media/a.txt", headers=PAGE).body == b"hello"


def test_a_page_is_shown_where_all_requests_are_in_a_transaction(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    answer = ask(serve(error_pages=True), "/media/none", headers=PAGE)
    assert (answer.status, answer.body) == (404, b"no page /media/none")


def test_an_image_gets_none_of_it(serve: Serve) -> None:
    application = serve(error_pages=True)
    for headers in (IMAGE, [], [(b"accept", b"*/*")]):
        answer = ask(application, "/media/none.png", headers=headers)
        assert (answer.status, answer.body) == (404, b"404 Not Found\n")
        assert "x-marked" not in answer.headers


def test_a_location_that_does_not_ask_for_it_has_bare_errors(serve: Serve) -> None:
    answer = ask(serve(), "/media/none", headers=PAGE)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize(
    ("signed", "body"),
    [("/media/a.txt", b"refused: The link has expired."), ("/media/b.txt", b"refused: ")],
)
def test_an_expired_link_says_so(serve: Serve, signed: str, body: bytes) -> None:
    query = sign_url(signed, now=1_000_000).partition("?")[2].encode()
    application = serve(access="signed", error_pages=True)
    answer = ask(application, "/media/a.txt", headers=PAGE, query_string=query)
    assert (answer.status, answer.body) == (403, body)
    assert answer.has(cache_control="no-store", referrer_policy="no-referrer")


def test_the_site_s_handler_learns_the_reason(serve: Serve, monkeypatch: Any) -> None:
    def handler403(request: Any, exception: Exception) -> HttpResponse:
        return HttpResponse(type(exception.__cause__).__name__, status=403)

    urls: Any = types.ModuleType("urls_of_error_pages")
    urls.urlpatterns, urls.handler403 = [], handler403
    monkeypatch.setitem(sys.modules, "urls_of_error_pages", urls)
    query = sign_url("/media/a.txt", now=1_000_000).partition("?")[2].encode()
    with override_settings(ROOT_URLCONF="urls_of_error_pages"):
        vars(settings)["SECRET_KEY"] = "for these tests alone"
        application = serve(access="signed", error_pages=True)
        answer = ask(application, "/media/a.txt", headers=PAGE, query_string=query)
        vars(settings).pop("SECRET_KEY")
    assert answer.body == SignatureExpired.__name__.encode()


def test_a_page_of_a_predicate_s_location_keeps_the_cookies_of_its_middleware(
    serve: Serve,
) -> None:
    application = serve(access=lambda request, path: True, error_pages=True)
    answer = ask(application, "/media/none", headers=PAGE)
    assert (answer.status, answer.body) == (404, b"no page /media/none")
    assert answer.headers["set-cookie"].startswith("seen=1")


def test_with_debug_the_reason_comes_first_for_404_as_with_django(serve: Serve) -> None:
    with override_settings(DEBUG=True):
        answer = ask(serve(error_pages=True), "/media/none", headers=PAGE)
        assert b"No such file or directory" in answer.body


def test_an_internal_location_has_no_error_pages(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Leave error_pages out"):
        Location(url="/i/", root=tmp_path, access="internal", error_pages=True)


def no_one(request: Any, path: str) -> bool:
    return False


@pytest.mark.parametrize("has_template", [True, False])
@pytest.mark.parametrize("debug", [True, False])
def test_a_predicate_s_refusal_is_explained_where_the_site_has_no_page(
    serve: Serve, caplog: pytest.LogCaptureFixture, has_template: bool, debug: bool
) -> None:
    templates = settings.TEMPLATES if has_template else []
    with override_settings(DEBUG=debug, TEMPLATES=templates):
        with caplog.at_level(logging.DEBUG, "media_asgi"):
            answer = ask(serve(access=no_one), "/media/a.txt", headers=PAGE)
            image = ask(serve(access=no_one), "/media/a.txt", headers=IMAGE)
    assert answer.status == image.status == 403
    assert (b"the predicate refuses" in answer.body) == (debug and not has_template)
    assert b"the predicate refuses" not in image.body
    assert b"/media/a.txt" not in answer.body or b"File:" not in answer.body
    lines = [record.getMessage() for record in caplog.records if record.name == "media_asgi"]
    assert lines == ["'/media/a.txt': 403 by the location '/media/': the predicate refuses"] * 2
