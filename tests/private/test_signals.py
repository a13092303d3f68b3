"""Whom ``file_sent`` names."""

import pytest

from ..support.site import Site
from .support import browser_of, on


@on("daphne-listening")
@pytest.mark.parametrize(
    ("name", "url", "path", "user"),
    [
        ("alice", "/members/alice/signal-sync.txt", "alice/signal-sync.txt", "alice"),
        ("rita", "/staff/signal-async.txt", "signal-async.txt", "rita"),
        ("alice", "/object/signal-none.txt?word=open", "signal-none.txt", "None"),
    ],
    ids=["a sync predicate", "an async predicate", "a predicate that asks for none"],
)
def test_file_sent_names_the_user_that_a_predicate_asked_for(
    site: Site, name: str, url: str, path: str, user: str
) -> None:
    site.put(f"asked/{path}", b"data")
    assert browser_of(site, name).get(url).status == 200
    site.logged(f"sent {path} to {user}")


@on("daphne-listening")
def test_file_sent_knows_no_user_of_a_hand_over_whose_view_asks_for_none(site: Site) -> None:
    site.put("protected/signal-view.txt", b"data")
    header = "X-Accel-Redirect: /protected/signal-view.txt"
    assert browser_of(site, "alice").get("/sync/answer/", header=header).status == 200
    site.logged("sent signal-view.txt to None")


@on("daphne-listening")
def test_file_sent_names_the_user_that_a_view_asked_for(site: Site) -> None:
    site.put("protected/alice/signal-own.txt", b"data")
    browser = browser_of(site, "alice")
    assert browser.get("/own/", path="alice/signal-own.txt").body == b"data"
    site.logged("sent alice/signal-own.txt to alice")
    assert browser.get("/own/file/", path="signal-own.txt").body == b"data"
    site.logged("/protected/alice/signal-own.txt to alice")
