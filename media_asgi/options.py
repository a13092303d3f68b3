"""
The options of a location as keyword arguments, so that editors complete them and mypy checks them.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict

from .access import Access
from .http.cors import CORS
from .manifest import ManifestNames
from .sources.base import Source
from .sources.disk_cache import DiskCache

Root = str | os.PathLike[str] | Source


class Options(TypedDict, total=False):
    """Those of ``Location``, with the same types. None of them is required."""

    url: str
    root: Root | Sequence[Root] | Callable[[str], str | os.PathLike[str] | None] | None
    host: str | None
    source: Source | None
    credentials: Literal["instance"] | None
    access: Access | None
    cache_control: str | Callable[[str], str] | None
    immutable: str | re.Pattern[str] | ManifestNames | None
    headers: Mapping[str, str] | Callable[[str], Mapping[str, str]] | None
    content_types: Mapping[str, str] | None
    follow_symlinks: bool | Collection[str | os.PathLike[str]]
    dotfiles: bool | Collection[str]
    sandbox: bool
    fallthrough: bool
    login_redirect: bool
    error_pages: bool
    cors: str | Collection[str] | Mapping[str, Any] | CORS | None
    index: str | None
    precompressed: bool
    leeway: float | timedelta
    cache: DiskCache | None
    limit_rate: int | None
    limit_rate_after: int
