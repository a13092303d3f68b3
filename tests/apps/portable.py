"""As `media`, on a system without openat2(2): macOS, an old Linux, a seccomp filter."""

from media_asgi.sources import openat2

openat2.KERNEL.openat2 = openat2.KERNEL.cached = False

from .media import application  # noqa: E402

__all__ = ["application"]
