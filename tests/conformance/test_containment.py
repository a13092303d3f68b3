"""Nothing outside the root is served."""

import contextlib
import itertools
import os
import shutil
import socket
import stat
import tempfile
import threading

from ..support.client import Connection, Truncated
from ..support.programs import need_unprivileged
from .support import SECRET, Media, check, soon

DOTS = ["..", "%2e%2e", ".%2E", "%252e%252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "..%00"]


DOTS += ["..;", "..%20", "%20..", "....", "%EF%BC%8E%EF%BC%8E", "%u002e%u002e"]


SLASHES = ["/", "%2f", "%5c", "//", "%252f", "%c0%af", "/./", "%EF%BC%8F"]


STARTS = ["", "sub/", "sub/../", "./", "%2e/", "/"]


CLIMBS = [
    f"/media/{start}{(dots + slash) * depth}secret.txt"
    for start, dots, slash, depth in itertools.product(STARTS, DOTS, SLASHES, (1, 2))
]


TWINS = [
    "/media-secret/secret.txt",
    "/media%2dsecret/secret.txt",
    "/media../secret.txt",
    "/media..%2fsecret.txt",
    "/media%2e%2e/secret.txt",
    "/media%2f../secret.txt",
    "/media%2f%2e%2e%2fsecret.txt",
    "/media%5c..%5csecret.txt",
    "/media;/../secret.txt",
    "/media/..%2fmedia-secret%2fsecret.txt",
    "/media/../media-secret/secret.txt",
    "//media/../secret.txt",
    "/./media/../secret.txt",
    "/x/../media/../secret.txt",
    "/medi%61/../secret.txt",
    "/media//etc/passwd",
    "/media/%2fetc/passwd",
    "/media/%2fetc%2fpasswd",
    "/media/%2f%2fetc/passwd",
    "/media/file:///etc/passwd",
    "/media/file:%2f%2f%2fetc%2fpasswd",
    "/media/../../../../../../../../etc/passwd",
    "/media/" + "%2e%2e/" * 20 + "etc/passwd",
    "/media/inside/../../secret.txt",
    "/media/inside/..%2f..%2fsecret.txt",
]


def test_nothing_outside_the_root_is_ever_served(served: Media) -> None:
    served.put("sub/inside.txt", b"x")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Connection(served.server))
        for target in [*CLIMBS, *TWINS]:
            try:
                response = client.get(target)
            except (Truncated, ConnectionResetError, BrokenPipeError):
                # Some servers end the connection after a request that they refused.
                client = stack.enter_context(Connection(served.server))
                response = client.get(target)
            assert b"SECRET" not in response.body, target
            assert b"root:" not in response.body, target
            if "x-inner" in response:
                assert not target.startswith("/media/") or "%2f" in target.lower(), target
            elif response.status != 400:
                assert response.status == 404, target
                check(response)


def test_a_location_is_its_prefix_and_no_more(served: Media) -> None:
    served.put("a.txt", b"a")
    for target in (
        "/",
        "/media",
        "/mediax",
        "/media-secret/secret.txt",
        "/Media/a.txt",
        "/x/media/a.txt",
    ):
        told = served.passed_on(target, method="POST", body=b"x" * 70_000)
        assert told["path"] == target
        assert told["method"] == "POST"
        assert told["body"] == 70_000
    assert served.get("/%6dedia/a.txt").body == b"a"


def test_the_longest_prefix_wins(served: Media) -> None:
    served.put("inside/a.txt", b"of the shorter one")
    (served.base / "other" / "a.txt").write_bytes(b"of the longer one")
    assert served.get("/media/inside/a.txt").body == b"of the longer one"


def test_links_out_of_the_root_are_404_unless_followed(served: Media) -> None:
    served.put("links/a.txt", b"below")
    served.put("links/sub/b.txt", b"below")
    links = served.root / "links"
    for name, target in {
        "good.txt": "a.txt",
        "into.txt": "sub/b.txt",
        "folder": "sub",
        "sub/up.txt": "../a.txt",
        "sub/zigzag.txt": "../sub/../a.txt",
        "chain1": "chain2",
        "chain2": "chain3",
        "chain3": "a.txt",
        "absolute.txt": str(links / "a.txt"),
        "absolute": str(links / "sub"),
        "absolute but as if below.txt": "/sub/b.txt",
        "climbing.txt": "../../secret.txt",
        "climbing and back.txt": "../../media/links/a.txt",
        "outside": "../..",
        "etc": "/etc",
        "process": "/proc/self",
        "dangling.txt": "nothing.txt",
        "self": "self",
        "loop1": "loop2",
        "loop2": "loop1",
        "null": "/dev/null",
        "empty-ish": "sub/",
    }.items():
        (links / name).symlink_to(target)
    for target in (
        "good.txt",
        "into.txt",
        "folder/b.txt",
        "folder/up.txt",
        "sub/up.txt",
        "sub/zigzag.txt",
        "chain1",
        "absolute.txt",
        "absolute/b.txt",
    ):
        assert served.get(f"/media/links/{target}").body == b"below", target
    outside = [
        "absolute%20but%20as%20if%20below.txt",
        "climbing.txt",
        "climbing%20and%20back.txt",
        "outside/secret.txt",
    ]
    outside += [
        "outside/media/links/a.txt",
        "etc/passwd",
        "process/environ",
        "process/root/etc/passwd",
    ]
    nothing = ["dangling.txt", "self", "loop1", "loop2/x", "null", "empty-ish", "outside", "folder"]
    for target in [*outside, *nothing]:
        assert served.status(f"/media/links/{target}") == 404, target
    assert served.get("/links/links/climbing.txt").body == SECRET
    assert served.get("/links/links/absolute/b.txt").body == b"below"
    assert served.get("/links/links/good.txt").body == b"below"
    for target in nothing:
        assert served.status(f"/links/links/{target}") == 404, target


def test_a_folder_that_becomes_a_link_during_the_request(served: Media) -> None:
    url = served.put("race/secret.txt", b"inside")
    race, folder, link = (served.root / name for name in ("race", "race folder", "race link"))
    link.symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            race.rename(folder)
            link.rename(race)
            race.rename(link)
            folder.rename(race)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with Connection(served.server) as client:
            answers = [client.get(url) for _ in range(400)]
    finally:
        stop.set()
        swapping.join()
    assert {answer.status for answer in answers} <= {200, 404}
    assert {answer.body for answer in answers if answer.status == 200} <= {b"inside"}
    assert served.get(url).body == b"inside"


def test_what_is_no_regular_file(served: Media) -> None:
    special = served.root / "special"
    special.mkdir()
    os.mkfifo(special / "fifo")
    names = ["fifo", "socket", "."]
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")  # its path may have 107 bytes only
        listener.listen()
        shutil.move(f"{short}/s", special / "socket")
        if os.geteuid() == 0:
            for name, minor in (("null", 3), ("zero", 5)):
                os.mknod(special / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
                names.append(name)
        for name in names:
            for headers in ([], [("Range", "bytes=0-9")]):
                assert served.status(f"/media/special/{name}", *headers) == 404
                assert served.status(f"/links/special/{name}", *headers) == 404


def test_dotfiles_are_404_unless_allowed(served: Media) -> None:
    names = [".env", ".git/config", "a/.hidden", "...", "..a", "a/.b/c.txt"]
    for name in names:
        served.put(name, b"hidden")
        assert served.status(f"/media/{name}") == 404, name
        assert served.get(f"/dots/{name}").body == b"hidden", name
    assert served.status("/dots/../secret.txt") == 404
    assert served.status("/dots/a/./.hidden") == 404


def test_an_unreadable_file_is_forbidden(served: Media) -> None:
    need_unprivileged()
    url = served.put("unreadable.txt", b"x")
    (served.root / "unreadable.txt").chmod(0)
    for method in ("GET", "HEAD"):
        assert served.get(url, method=method).status == 403
    (served.root / "unreadable.txt").chmod(0o644)
    assert served.get(url).body == b"x"


def test_roots_that_come_and_go(served: Media) -> None:
    base = served.base
    late, swapped, linked = "/late/a.txt", "/swapped/a.txt", "/linked/a.txt"
    soon(served, {late: None, swapped: None, linked: None})

    for name in ("late", "swapped", "release1", "release2", "next"):
        (base / name).mkdir()
        (base / name / "a.txt").write_bytes(name.encode())
    (base / "swapped" / "old.txt").write_bytes(b"old")
    (base / "linked").symlink_to("release1")
    soon(
        served,
        {late: b"late", swapped: b"swapped", "/swapped/old.txt": b"old", linked: b"release1"},
    )

    (base / "swapped").rename(base / "before")
    (base / "next").rename(base / "swapped")
    (base / "new link").symlink_to("release2")
    (base / "new link").rename(base / "linked")
    shutil.rmtree(base / "late")
    soon(served, {late: None, swapped: b"next", "/swapped/old.txt": None, linked: b"release2"})

    (base / "late").mkdir()
    (base / "late" / "a.txt").write_bytes(b"again")
    (base / "linked").unlink()
    soon(served, {late: b"again", linked: None})


def test_an_upload_is_served_at_once(served: Media) -> None:
    for number in range(20):
        url = f"/media/uploads/{number}.txt"
        assert served.status(url) == 404
        served.put(f"uploads/{number}.txt", b"here", age=0)
        assert served.get(url).body == b"here"
        (served.root / f"uploads/{number}.txt").unlink()
        assert served.status(url) == 404
