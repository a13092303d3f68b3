import ntpath
import os
import pathlib
import tempfile
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_asgi.http.media_types import content_type
from media_asgi.http.path import file_name, hidden_segment, is_traversal, request_path

# RFC 3986 section 3.3: a segment is anything between slashes; section 5.2.4: "." and ".." are the
# client's to remove.
SERVED = [
    pytest.param("a.txt", b"a.txt", id="plain"),
    pytest.param("a/b/c.txt", b"a/b/c.txt", id="folders"),
    pytest.param("a b+c;d,e=f&g'h\"i.txt", b"a b+c;d,e=f&g'h\"i.txt", id="punctuation"),
    pytest.param("100%?#.txt", b"100%?#.txt", id="decoded-once"),
    pytest.param("%2e%2e/x", b"%2e%2e/x", id="encoded-twice-is-a-name"),
    pytest.param("a\nb\rc\td.txt", b"a\nb\rc\td.txt", id="control-characters"),
    pytest.param("é.txt", "é.txt".encode(), id="composed"),
    pytest.param("e\u0301.txt", "e\u0301.txt".encode(), id="decomposed-stays-so"),
    pytest.param("日本語/🎬.mp4", "日本語/🎬.mp4".encode(), id="beyond-the-basic-plane"),
    pytest.param("\udcff\udce9.txt", b"\xff\xe9.txt", id="not-utf-8"),
    pytest.param("a..b/c..", b"a..b/c..", id="dots-within"),
    pytest.param("a.", b"a.", id="dot-at-the-end"),
    pytest.param("\\..\\..\\x", b"\\..\\..\\x", id="backslash-is-a-character"),
    pytest.param("C:/x", b"C:/x", id="drive-is-a-folder"),
    pytest.param("CON", b"CON", id="device-of-windows"),
    pytest.param("~/x", b"~/x", id="tilde"),
    pytest.param("-rf", b"-rf", id="dash"),
    pytest.param("a" * 5000, b"a" * 5000, id="long-names-are-the-file-system's-matter"),
]
REFUSED = [
    pytest.param("", id="the-root"),
    pytest.param("/", id="slash"),
    pytest.param("a/", id="trailing-slash"),
    pytest.param("/a", id="empty-first"),
    pytest.param("a//b", id="empty-within"),
    pytest.param("//etc/passwd", id="absolute"),
    pytest.param("..", id="dot-dot"),
    pytest.param("../a", id="climbs"),
    pytest.param("a/../b", id="climbs-within"),
    pytest.param("a/..", id="climbs-last"),
    pytest.param("a/../../b", id="climbs-out"),
    pytest.param(".", id="dot"),
    pytest.param("./a", id="dot-first"),
    pytest.param("a/./b", id="dot-within"),
    pytest.param("a/.", id="dot-last"),
    pytest.param("a\0", id="nul"),
    pytest.param("\0", id="nul-alone"),
    pytest.param("a/\0/b", id="nul-within"),
    pytest.param("a\ud800b", id="half-a-surrogate"),
    pytest.param("a\udc00b", id="surrogate-of-no-byte"),
]
DOTFILES = [".env", ".git/config", "a/.hidden", "a/.hidden/b", "...", "..a", "a/..b/c", ".a."]
REFUSED_ON_WINDOWS = [
    "..\\x",
    "a\\..\\..\\x",
    "\\\\server\\share\\x",
    "C:/x",
    "C:x",
    "a/C:x",
    "x.txt:stream",
    "x.txt::$DATA",
    "a.txt.",
    "a.txt ",
    "a./b",
    "a /b",
    "CON",
    "con",
    "a/CON",
    "CON/a",
    "nul.txt",
    "NUL .txt",
    "aux.tar.gz",
    "PRN",
    "COM1",
    "com9.log",
    "LPT1",
    "COM¹.txt",
    "LPT³",
    "CONIN$",
    "CONOUT$",
    "a*b",
    "a?b",
    'a"b',
    "a<b",
    "a>b",
    "a|b",
    "a\nb",
    "a\x1fb",
    "SECRET~1.TXT",
    "folder/ENV~1",
    "LONGFO~12/x",
]
SERVED_ON_WINDOWS = [
    "a.txt",
    "a/b c/é.txt",
    "console.txt",
    "CONTENT/com10.txt",
    "a.CON",
    "nulls/aux-1.txt",
    "lpt.txt",
    "notes~.txt",
    "a~b.txt",
    "a longer name~1.txt",
]

# What resolvers stumble over, among every other character there is, lone surrogates included.
CHARACTERS = st.one_of(
    st.sampled_from("./\\\0:~%"), st.sampled_from("./"), st.sampled_from("CONab "), st.characters()
)
TEXT = st.text(CHARACTERS, max_size=30)


@pytest.mark.parametrize("dotfiles", [False, True])
@pytest.mark.parametrize(("rest", "name"), SERVED)
def test_names_of_files_from_paths(rest: str, name: bytes, dotfiles: bool) -> None:
    assert file_name(rest, dotfiles=dotfiles, windows=False) == name


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("dotfiles", [False, True])
@pytest.mark.parametrize("rest", REFUSED)
def test_what_names_no_file(rest: str, dotfiles: bool, windows: bool) -> None:
    assert file_name(rest, dotfiles=dotfiles, windows=windows) is None


@pytest.mark.parametrize("rest", DOTFILES)
def test_dotfiles_only_where_they_are_wanted(rest: str) -> None:
    assert file_name(rest, windows=False) is None
    assert file_name(rest, dotfiles=True, windows=False) == os.fsencode(rest)


NAMELESS = [
    ".pdf",
    ".jpg",
    "a/b/.JPG",
    ".jpg_m4tgpwS",
    "a/.mp4_0123456",
    ".woff2",
    ".docx",
    ".zip",
    ".gz",
    ".svg",
]
# With an ending of another list, of another length, in a folder, or of more than an ending.
NOT_NAMELESS = [
    ".env",
    ".git",
    ".htaccess",
    ".html",
    ".txt",
    ".json",
    ".key",
    ".jpg/a",
    ".pdf/.jpg",
    ".git/.jpg",
    ".jpg_m4tgpw",
    ".jpg_m4tgpwSx",
    ".jpg_m4tgpw-",
    ".jpg_m4tgp\u0660S",
    ".jpg_m4tgpwS.env",
    ".env_m4tgpwS",
    ".jpg\n",
    ".jpg ",
    ".jpg~",
    ".jpg.env",
    ".env.jpg",
    ".tar.gz",
    "..jpg",
    ".m\N{KELVIN SIGN}v",
]


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("rest", NAMELESS)
def test_a_file_of_which_only_the_ending_is_left(rest: str, windows: bool) -> None:
    for dotfiles in (False, True, frozenset({".well-known"})):
        assert file_name(rest, dotfiles=dotfiles, windows=windows) == os.fsencode(rest)


@pytest.mark.parametrize("rest", NOT_NAMELESS)
def test_other_dotfiles_are_no_files_without_a_name(rest: str) -> None:
    assert file_name(rest, windows=False) is None
    assert file_name(rest, dotfiles=frozenset({".other"}), windows=False) is None


@pytest.mark.parametrize(
    ("rest", "hidden"),
    [
        (".thumbnails/a.jpg", None),
        ("a/.thumbnails/b/.well-known", None),
        (".thumbnails/.jpg", None),
        (".thumbnails", None),
        (".thumbnails/.env", ".env"),
        (".git/.thumbnails", ".git"),
        (".thumbnailsx/a.jpg", ".thumbnailsx"),
        (".THUMBNAILS/a.jpg", ".THUMBNAILS"),
        (".thumbnails/../a", ".."),
    ],
)
def test_dotfiles_of_a_list(rest: str, hidden: str | None) -> None:
    names = frozenset({".thumbnails", ".well-known"})
    assert hidden_segment(rest, names) == hidden
    name = None if hidden else os.fsencode(rest)
    assert file_name(rest, dotfiles=names, windows=False) == name


@pytest.mark.parametrize("rest", REFUSED_ON_WINDOWS)
def test_what_windows_would_take_for_something_else(rest: str) -> None:
    assert file_name(rest, dotfiles=True, windows=True) is None
    assert file_name(rest, dotfiles=True, windows=False) == os.fsencode(rest)


@pytest.mark.parametrize("rest", SERVED_ON_WINDOWS)
def test_names_on_windows(rest: str) -> None:
    assert file_name(rest, windows=True) == os.fsencode(rest)


@given(rest=TEXT, dotfiles=st.booleans())
def test_nothing_escapes(rest: str, dotfiles: bool) -> None:
    name = file_name(rest, dotfiles=dotfiles, windows=False)
    if name is None:
        return
    root = os.fsencode(tempfile.gettempdir())
    joined = os.path.join(root, name)
    assert joined.startswith(root + b"/")
    # So that there is nothing in it for the file system to resolve.
    assert os.path.normpath(joined) == joined
    assert b"\0" not in name
    assert os.fsdecode(name) == rest
    if not dotfiles:
        *folders, last = rest.split("/")
        assert not any(segment.startswith(".") for segment in folders)
        assert not last.startswith(".") or content_type(last) != "application/octet-stream"


def _is_reserved(name: str) -> bool:
    if hasattr(ntpath, "isreserved"):  # Python 3.13
        return bool(ntpath.isreserved(name))
    return pathlib.PureWindowsPath(name).is_reserved()


@given(rest=TEXT, dotfiles=st.booleans())
def test_nothing_escapes_on_windows(rest: str, dotfiles: bool) -> None:
    name = file_name(rest, dotfiles=dotfiles, windows=True)
    if name is None:
        return
    joined = ntpath.join("D:\\media", os.fsdecode(name))
    assert ntpath.normpath(joined) == joined.replace("/", "\\")
    assert joined.startswith("D:\\media\\")
    for segment in rest.split("/"):
        assert not _is_reserved(segment)
        assert not set(segment) & set('\\:*?"<>|')
        assert segment.rstrip(". ") == segment


SEGMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1)


@given(segments=st.lists(SEGMENT, min_size=1, max_size=5), dotfiles=st.booleans())
def test_every_name_is_served(segments: list[str], dotfiles: bool) -> None:
    rest = "/".join(segments)
    if {".", ".."} & set(segments) or (not dotfiles and hidden_segment(rest, False)):
        assert file_name(rest, dotfiles=dotfiles, windows=False) is None
    else:
        assert file_name(rest, dotfiles=dotfiles, windows=False) == rest.encode()


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("part", ["a", "a/", "./", "../", "~1", ".", " ", "CON", "\udcff", "\0"])
def test_a_path_without_end(part: str, windows: bool) -> None:
    name = file_name(part * 50_000 + "x", dotfiles=True, windows=windows)
    assert (name is None) == (part in ("./", "../", "\0"))


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        pytest.param({"path": "/é"}, "/é", id="no-raw-path"),
        pytest.param({"path": "/é", "raw_path": None}, "/é", id="raw-path-is-none"),
        pytest.param({"path": "/\ufffd", "raw_path": b""}, "/\ufffd", id="raw-path-is-empty"),
        pytest.param({"path": "/a", "raw_path": b"/%62"}, "/a", id="another-raw-path"),
        pytest.param({"path": "/\ufffd", "raw_path": b"/%ff"}, "/\udcff", id="not-utf-8"),
        pytest.param({"path": "/\ufffd", "raw_path": b"/\xff"}, "/\udcff", id="not-encoded"),
        pytest.param({"path": "/\ufffd", "raw_path": b"/%ff?a=%fe"}, "/\udcff", id="with-a-query"),
        pytest.param(
            {"path": "/\ufffd?", "raw_path": b"/%ff%3F?a"}, "/\udcff?", id="question-mark-in-it"
        ),
        pytest.param(
            {"path": "/\ufffd", "raw_path": b"/%EF%BF%BD"}, "/\ufffd", id="u+fffd-is-its-name"
        ),
        pytest.param(
            {"path": "/é\ufffd", "raw_path": b"/%c3%a9%e9"}, "/é\udce9", id="some-of-it-utf-8"
        ),
        pytest.param(
            {"path": "/\ufffd", "raw_path": b"/prefix/%ff"}, "/\ufffd", id="rewritten-on-the-way"
        ),
        pytest.param({"path": ""}, "", id="empty"),
        pytest.param({"path": "*"}, "*", id="asterisk-form"),
    ],
)
def test_request_path(scope: dict[str, object], path: str) -> None:
    assert request_path(scope) == path


@given(name=st.binary(max_size=40), query=st.sampled_from([b"", b"?", b"?x=%ff"]))
def test_any_bytes_come_through(name: bytes, query: bytes) -> None:
    path = b"/media/" + name
    scope = {
        "path": path.decode("utf-8", "replace"),
        "raw_path": quote_from_bytes(path).encode("ascii") + query,
    }
    assert os.fsencode(request_path(scope)) == path


@given(path=st.text(CHARACTERS), raw=st.one_of(st.none(), st.binary()))
def test_request_path_never_fails(path: str, raw: bytes | None) -> None:
    decoded = request_path({"path": path, "raw_path": raw})
    # What it says is what the server says, but for bytes that are no UTF-8.
    if decoded != path:
        assert os.fsencode(decoded).decode("utf-8", "replace") == path


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/media/../x", True),
        ("/media/..", True),
        ("/media/a\0", True),
        ("/media/a..b/..c/d../x", False),
        ("/media/...", False),
        ("/media//x", False),
    ],
)
def test_climbs(path: str, answer: bool) -> None:
    assert is_traversal(path) is answer
