"""What is asked of the kernel, and what an older one lacks."""

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_asgi.sources.openat2 import KERNEL, Kernel

from .support import linux


@pytest.mark.skipif(not linux(5, 12), reason="before Linux 5.12")
def test_this_kernel() -> None:
    kernel = Kernel()
    assert kernel.openat2
    assert kernel.cached


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    kernel = Kernel()
    assert not kernel.openat2
    assert not kernel.cached
    assert not kernel.cachestat


@pytest.mark.skipif(not linux(2), reason="no Linux")
@pytest.mark.parametrize(
    ("error", "of_cached_alone", "openat2", "cached"),
    [
        pytest.param(errno.ENOSYS, False, False, False, id="before-5.6"),
        pytest.param(errno.EPERM, False, False, False, id="seccomp"),
        pytest.param(errno.EACCES, False, False, False, id="another-seccomp"),
        pytest.param(errno.EINVAL, True, True, False, id="before-5.12"),
        pytest.param(errno.EAGAIN, True, True, True, id="not-cached-now"),
    ],
)
def test_older_kernels(
    error: int,
    of_cached_alone: bool,
    openat2: bool,
    cached: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def syscall(library: Any, *types: Any) -> Callable[..., int]:
        def call(number: int, folder: int, name: bytes, how: Any, size: int) -> int:
            if number != 437 or (of_cached_alone and not how.contents.resolve & 0x20):
                return os.open(os.devnull, os.O_RDONLY)
            ctypes.set_errno(error)
            return -1

        return call

    monkeypatch.setattr("media_asgi.sources.openat2._syscall", syscall)
    kernel = Kernel()
    assert (kernel.openat2, kernel.cached) == (openat2, cached)


@pytest.mark.skipif(not linux(2), reason="no Linux")
def test_local_file_systems(tmp_path: Path) -> None:
    local = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x2FC12FC1, 0xF2F52010}
    told = subprocess.run(
        ["stat", "--file-system", "--format=%t", tmp_path], capture_output=True, check=True
    )
    with open(tmp_path / "a", "wb") as file:
        assert KERNEL.is_local(file.fileno()) == (int(told.stdout, 16) in local)
    with open("/proc/self/status", "rb") as file:
        assert not KERNEL.is_local(file.fileno())
    assert not KERNEL.is_local(-1)
