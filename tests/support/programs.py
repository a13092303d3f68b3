"""The programs that a bare machine lacks: without one a test is skipped, and fails in CI."""

import functools
import os
import shutil
import subprocess
from typing import NoReturn

import pytest

# By name, with what installs each on Debian. A machine that has Python alone has none of them.
INSTALL = {
    "aria2c": "apt-get install aria2",
    "azurite-blob": "npm install -g azurite",
    "caddy": "apt-get install caddy",
    "chromium": "apt-get install chromium",
    "curl": "apt-get install curl",
    "ffmpeg": "apt-get install ffmpeg",
    "ffprobe": "apt-get install ffmpeg",
    "fusepy": "apt-get install python3-fusepy",
    "fusermount": "apt-get install fuse3",
    "haproxy": "apt-get install haproxy",
    "mount": "apt-get install mount",
    "nginx": "apt-get install nginx-light",
    "rclone": "apt-get install rclone",
    "setpriv": "apt-get install util-linux",
    "unshare": "apt-get install util-linux",
    "uv": "pip install uv",
    "wget": "apt-get install wget",
}


def find(name: str) -> str | None:
    # Debian keeps nginx in a folder that a user's PATH does not name.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def program(name: str) -> str:
    """The path of a program that the test can't do without."""
    return find(name) or not_installed(name)


def not_installed(name: str) -> NoReturn:
    lacking(f"{name} is not installed: {INSTALL[name]}")


def lacking(reason: str) -> NoReturn:
    """Skips the test on a machine that lacks something. CI must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@functools.cache
def unprivileged() -> list[str]:
    """What goes before a command to take from root the right to ignore the modes of files.

    Nobody serves as root, so no server of the tests does. Empty where we aren't root, where there
    is no setpriv, and in a container that doesn't let root give up anything.
    """
    setpriv = find("setpriv") if os.geteuid() == 0 else None
    if setpriv is None:
        return []
    before = [setpriv, "--bounding-set", "-dac_override,-dac_read_search"]
    return before if not subprocess.run([*before, "true"], capture_output=True).returncode else []


def need_unprivileged() -> None:
    """For a test in which a file can't be read."""
    if os.geteuid() == 0 and not unprivileged():
        lacking(f"root reads every file, and setpriv does not change that: {INSTALL['setpriv']}")
