import asyncio
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from media_asgi import Location
from media_asgi.access.base import AccessDenied, HeaderOverrides
from media_asgi.signing import sign_url


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    # override_settings could not go back to having none.
    monkeypatch.setitem(vars(settings), "SECRET_KEY", "k" * 50)


def authorize(location: Location, link: str, *urls: str) -> HeaderOverrides | None:
    path, _, query = link.partition("?")
    scope = {"type": "http", "query_string": query.encode()}
    # A fresh loop for each call, so that tests without a loop may use it.
    return asyncio.run(location.policy.authorize(scope, path.removeprefix("/m/"), urls or [path]))


def signed(root: Path, **options: Any) -> Location:
    return Location(url="/m/", root=root, access="signed", **options)


def test_a_link_lets_caches_keep_the_file_until_it_expires(tmp_path: Path) -> None:
    overrides = authorize(signed(tmp_path), sign_url("/m/a", expires_in=timedelta(hours=1)))
    assert overrides is not None
    assert overrides.cache_control is not None
    directives = overrides.cache_control.split(b", max-age=")
    assert directives[0] == b"private"
    assert 3500 < int(directives[1]) <= 3601
    assert overrides.headers == ()


def test_the_locations_own_cache_control_stays(tmp_path: Path) -> None:
    overrides = authorize(signed(tmp_path, cache_control="no-store"), sign_url("/m/a"))
    assert overrides == HeaderOverrides()


def test_a_link_may_name_the_download(tmp_path: Path) -> None:
    overrides = authorize(signed(tmp_path), sign_url("/m/a", download="b.txt"))
    assert overrides is not None
    assert dict(overrides.headers)[b"content-disposition"] == b'attachment; filename="b.txt"'


@pytest.mark.parametrize("link", ["/m/a", "/m/a?media-signature=x", "/m/a?media-expires=1"])
def test_a_link_that_does_not_hold_is_denied(tmp_path: Path, link: str) -> None:
    with pytest.raises(AccessDenied) as denied:
        authorize(signed(tmp_path), link)
    assert (denied.value.status, denied.value.headers) == (403, [])


def test_a_link_is_good_for_each_url_of_the_file(tmp_path: Path) -> None:
    link = sign_url("/app/m/a")
    assert authorize(signed(tmp_path), link, "/m/a", "/app/m/a")
    with pytest.raises(AccessDenied):
        authorize(signed(tmp_path), link, "/m/a")


def test_leeway_lengthens_a_link(tmp_path: Path) -> None:
    link = sign_url("/m/a", expires_in=1, now=time.time() - 60)
    with pytest.raises(AccessDenied):
        authorize(signed(tmp_path), link)
    assert authorize(signed(tmp_path, leeway=timedelta(hours=1)), link)


@pytest.mark.parametrize("leeway", ["5", -1, True])
def test_a_leeway_that_is_not_a_length_of_time_is_refused(tmp_path: Path, leeway: Any) -> None:
    message = re.escape(f"leeway of the location '/m/': leeway is {leeway!r}. Give a number")
    with pytest.raises(ImproperlyConfigured, match=message):
        signed(tmp_path, leeway=leeway)


def test_a_location_without_a_secret_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media_asgi.access.signed.django_setting", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"'/m/'.*SECRET_KEY"):
        signed(tmp_path)
