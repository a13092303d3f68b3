"""The clients that people have: downloads that are interrupted and go on, players that seek."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.programs import program
from ..support.servers import Server, media

SIZE = 48 * 1024 * 1024 + 4711

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]


def run(*command: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[bytes]":
    name, *arguments = command
    done = subprocess.run(
        [program(str(name)), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done


def interrupt(
    *command: str | Path, file: Path, with_: signal.Signals = signal.SIGKILL, at: int = SIZE // 5
) -> int:
    """Starts a download and ends it on its way, and tells how much of the file is there."""
    name, *arguments = command
    with subprocess.Popen(
        [program(str(name)), *arguments],
        cwd=file.parent,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while received(file) < at:
            assert process.poll() is None, "it has come to its end"
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.05)
        process.send_signal(with_)
        process.wait(30)
    size = received(file)
    assert at <= size < SIZE
    return size


def received(file: Path) -> int:
    """The bytes that a download has written: aria2 writes with holes."""
    return file.stat().st_blocks * 512 if file.exists() else 0


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    (root / "a.bin").write_bytes(random.Random(1).randbytes(SIZE))
    day = time.time() - 86400
    os.utime(root / "a.bin", (day, day))
    return root


@pytest.fixture(scope="module")
def films(root: Path) -> Path:
    source = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=15:duration=40"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=40"]
    for name in ("a.mp4", "a.mkv"):
        # Nothing for fast starts: the index of a.mp4 is at its end, where a player must look first.
        # A key frame each second.
        run("ffmpeg", "-v", "error", *source, *sound, "-c:v", "mpeg4", "-b:v", "4M", "-g", "15",
            "-c:a", "aac", "-shortest", root / name)  # fmt: skip
        assert (root / name).stat().st_size > 4_000_000
    return root


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[Server]:
    with Server(request.param, env=media({"url": "/media/", "root": root})) as server:
        yield server


@pytest.fixture
def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/media/"


def test_curl_resumes_a_download(base: str, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    curl: list[str | Path] = ["curl", "--silent", "--show-error", "--fail", "--output", file]
    interrupt(*curl, "--limit-rate", "8M", base + "a.bin", file=file)
    size = file.stat().st_size
    format_ = "%{http_code} %{size_download}"
    done = run(*curl, "--continue-at", "-", "--write-out", format_, base + "a.bin")
    assert done.stdout.decode() == f"206 {SIZE - size}"
    assert same(file, root / "a.bin")


def test_curl_of_what_is_whole_already(base: str, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    shutil.copy(root / "a.bin", file)
    done = run("curl", "--silent", "--show-error", "--continue-at", "-", "--output", file,
               "--write-out", "%{http_code}", base + "a.bin")  # fmt: skip
    assert done.stdout == b"416"
    assert same(file, root / "a.bin")


def test_curl_asks_again(base: str, root: Path, tmp_path: Path) -> None:
    """With the ETag that it kept, and with the time of its copy."""
    file, etag = tmp_path / "a.bin", tmp_path / "etag"
    curl: list[str | Path] = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--remote-time",
        "--output",
        file,
        "--write-out",
        "%{http_code} %{size_download}",
        base + "a.bin",
    ]
    assert run(*curl, "--etag-save", etag).stdout == b"200 %d" % SIZE
    assert run(*curl, "--etag-compare", etag).stdout == b"304 0"
    assert run(*curl, "--time-cond", file).stdout == b"304 0"
    assert same(file, root / "a.bin")


def test_wget(base: str, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    interrupt("wget", "--quiet", "--limit-rate=8m", base + "a.bin", file=file)
    size = file.stat().st_size
    done = run("wget", "--continue", "--server-response", base + "a.bin", cwd=tmp_path)
    log = done.stderr.decode()
    assert "206 Partial Content" in log
    assert f"content-range: bytes {size}-{SIZE - 1}/{SIZE}" in log.lower()
    assert same(file, root / "a.bin")
    again = run("wget", "--timestamping", "--server-response", base + "a.bin", cwd=tmp_path)
    assert "304 Not Modified" in again.stderr.decode()


def test_aria2_downloads_in_parts(base: str, root: Path, tmp_path: Path) -> None:
    """Eight connections, each with its part of the file."""
    file = tmp_path / "a.bin"
    aria2 = ["aria2c", "-x8", "-s8", "-k1M", "--file-allocation=none", "--no-conf",
             "--enable-color=false", f"--dir={tmp_path}"]  # fmt: skip
    interrupt(*aria2, "--quiet", "--max-download-limit=8M", base + "a.bin",
              file=file, with_=signal.SIGINT)  # fmt: skip
    assert (tmp_path / "a.bin.aria2").exists()
    log = tmp_path / "log"
    run(*aria2, "--continue", f"--log={log}", "--log-level=info", base + "a.bin")
    assert not (tmp_path / "a.bin.aria2").exists()
    text = log.read_text()
    ranges = set(re.findall(r"^Range: bytes=(\d+)-", text, re.MULTILINE))
    assert len(ranges) >= 8
    assert text.count("HTTP/1.1 206 Partial Content") >= 8
    assert same(file, root / "a.bin")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_ffprobe_tells_what_it_tells_of_the_disk(name: str, base: str, films: Path) -> None:
    probe = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "flat"]

    def told(source: str | Path) -> list[str]:
        lines = run(*probe, source).stdout.decode().splitlines()
        return [line for line in lines if not line.startswith("format.filename=")]

    assert told(base + name) == told(films / name)
    assert any(line.startswith('format.duration="40.') for line in told(base + name))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("second", [0, 7, 33])
def test_ffmpeg_seeks_in_a_video(name: str, second: int, base: str, films: Path) -> None:
    """A picture in the middle is the same as from the disk, and is reached by seeking."""

    def picture(source: str | Path) -> "subprocess.CompletedProcess[bytes]":
        return run("ffmpeg", "-nostdin", "-v", "verbose", "-ss", str(second), "-i", source,
                   "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")  # fmt: skip

    served = picture(base + name)
    assert len(served.stdout) == 640 * 360 * 3
    assert served.stdout == picture(films / name).stdout
    match = re.search(r"Statistics: (\d+) bytes read, (\d+) seeks", served.stderr.decode())
    assert match
    assert int(match[1]) < (films / name).stat().st_size / 2
    if second or name == "a.mp4":
        assert int(match[2]) > 0


def test_ffmpeg_copies_all(base: str, films: Path, tmp_path: Path) -> None:
    def hashes(source: str | Path) -> bytes:
        return run("ffmpeg", "-nostdin", "-v", "error", "-i", source, "-c", "copy",
                   "-f", "streamhash", "-").stdout  # fmt: skip

    assert hashes(base + "a.mp4") == hashes(films / "a.mp4")


def test_rclone(base: str, root: Path, tmp_path: Path) -> None:
    """Its http backend, which asks with HEAD first, and copies in four streams."""
    log, file = tmp_path / "log", tmp_path / "a.bin"
    run("rclone", "--config", os.devnull, "copyto", f":http,url='{base}':a.bin", file,
        "--multi-thread-streams=4", "--multi-thread-cutoff=1M",
        "--dump=headers", f"--log-file={log}", "-vv")  # fmt: skip
    assert same(file, root / "a.bin")
    assert int(file.stat().st_mtime) == int((root / "a.bin").stat().st_mtime)
    assert "HEAD /media/a.bin" in log.read_text()
    assert log.read_text().count("HTTP/1.1 206 Partial Content") == 4
