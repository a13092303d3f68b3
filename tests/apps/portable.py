"""As `media`, on a system without openat2(2): macOS, an old Linux, a seccomp filter."""

from media_asgi.sources import local as files

files.KERNEL.openat2 = files.KERNEL.cached = False

from .media import application  # noqa: E402

__all__ = ["application"]
