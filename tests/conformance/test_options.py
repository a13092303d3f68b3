"""Options of a location over HTTP."""

from websockets.sync.client import connect as connect_websocket

from .support import Media


def test_options_of_a_location(served: Media) -> None:
    for name in ("a.txt", "app.0123456789ab.js", "b.own", "B.OWN"):
        served.put(f"own/{name}", b"x")
    plain = served.get("/own/own/a.txt")
    assert plain["cache-control"] == "public, max-age=60"
    assert plain["content-type"] == "text/x-own"
    assert plain["x-own"] == "yes"
    for name in ("b.own", "B.OWN"):
        assert served.get(f"/own/own/{name}")["content-type"] == "application/x-own"
    forever = served.get("/own/own/app.0123456789ab.js")["cache-control"]
    assert "immutable" in forever
    assert "max-age=31536000" in forever
    again = served.get("/own/own/a.txt", ("If-None-Match", plain["etag"]))
    assert again.status == 304
    assert again["cache-control"] == "public, max-age=60"
    assert "x-own" not in served.get("/media/own/a.txt")


def test_fallthrough_passes_misses_to_the_application(served: Media) -> None:
    served.put("there.txt", b"there")
    assert served.get("/fall/there.txt").body == b"there"
    told = served.passed_on("/fall/missing.txt?x=1")
    assert told["path"] == "/fall/missing.txt"
    assert served.passed_on("/fall/", method="POST", body=b"abc")["body"] == 3


def test_websockets_pass_through_the_middleware(served: Media) -> None:
    for path in ("/ws", "/media/a.txt"):
        connected = served.server.connect()
        with connect_websocket(f"ws://site.test{path}", sock=connected, proxy=None) as websocket:
            assert websocket.recv(timeout=60) == path
