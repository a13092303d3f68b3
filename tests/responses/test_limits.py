"""``limit_rate`` on real servers. Only the least time is asserted: a busy machine takes longer."""

import json
import time
from collections.abc import Callable

import pytest

from ..support.client import Connection
from ..support.site import Site
from .support import FILES, LARGE, LETTERS

LIMIT = {"limit_rate": 2_000_000, "limit_rate_after": 1_000_000}


@pytest.fixture
def site(server: str, start: Callable[..., Site]) -> Site:
    return start(
        server,
        FILES_LOCATION=json.dumps(LIMIT),
        FILES_OPTIONS=json.dumps({"send_timeout": 0.5}),
    )


def seconds(site: Site, url: str, expected: bytes, *headers: tuple[str, str]) -> float:
    begin = time.monotonic()
    response = site.get(url, *headers)
    took = time.monotonic() - begin
    assert response.body == expected
    return took


def test_a_file_goes_out_at_the_rate_after_its_first_bytes(site: Site) -> None:
    # Two million bytes are limited; the last eighth of a second has not to be waited for.
    assert seconds(site, "/media/large.bin", LARGE) > 0.85


def test_a_range_counts_from_its_own_first_byte(site: Site) -> None:
    expected = LARGE[1_500_000:]
    took = seconds(site, "/media/large.bin", expected, ("Range", "bytes=1500000-"))
    assert took > 0.1


@pytest.mark.parametrize("name", ["letters.bin", "large.bin"])
def test_a_view_limits_the_rate_of_what_it_hands_over(site: Site, name: str) -> None:
    url = f"/page?header=X-Accel-Redirect:%20/internal/{name}&header=X-Accel-Limit-Rate:%20"
    data = FILES[name]
    response = site.get(url + "4000000")
    assert response.body == data
    assert "x-accel-limit-rate" not in response
    least = max(len(data) - 1_000_000, 0) / 4_000_000 - 1 / 8
    assert seconds(site, url + "4000000", data) > least


def test_a_slow_limit_is_not_a_stalled_client(start: Callable[..., Site]) -> None:
    site = start(
        "daphne",
        FILES_LOCATION=json.dumps({"limit_rate": 20_000}),
        FILES_OPTIONS=json.dumps({"send_timeout": 0.5}),
    )
    # Small enough to be sent at once without a limit.
    assert seconds(site, "/media/letters.bin", LETTERS) > 2.2
    assert "cut off" not in site.server.log


def test_a_client_that_goes_in_a_pause_leaves_nothing_open(site: Site) -> None:
    with Connection(site.server) as client:
        client.request("/media/large.bin")
        next(client.body(client.head()))
    site.wait(lambda: not site.open_files())


@pytest.mark.parametrize(
    ("value", "cache_control"),
    [
        ("60", "private, max-age=60"),
        ("0", "no-store"),
        ("@1", "no-store"),
        ("-1", "max-age=7"),
        ("soon", "max-age=7"),
    ],
)
def test_x_accel_expires_sets_the_cache_control(
    start: Callable[..., Site], value: str, cache_control: str
) -> None:
    url = "/page?header=X-Accel-Redirect:%20/internal/letters.bin&header=Cache-Control:%20max-age=7"
    response = start("daphne").get(f"{url}&header=X-Accel-Expires:%20{value}")
    assert response["cache-control"] == cache_control
    assert "x-accel-expires" not in response
    if value == "60":
        soon = start("daphne").get(f"{url}&header=X-Accel-Expires:%20@{time.time() + 100:.0f}")
        private, age = soon["cache-control"].split("=")
        assert private == "private, max-age"
        assert 60 <= int(age) <= 101
