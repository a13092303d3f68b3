"""A bucket behind a server, with the interface of the conformance tests."""

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from obstore import put

from ..conformance.support import Media
from ..support.servers import Server, media
from ..support.site import HOUR
from .engines import ACCESS_KEY, SECRET_KEY, Engine

# Server and store. The quick ones are asked everything each time, the others with the slow tests.
QUICK = ["uvicorn-seaweedfs"]
SLOW = [
    *("daphne-seaweedfs", "hypercorn-seaweedfs", "granian-seaweedfs"),
    *("uvicorn-azurite", "uvicorn-moto", "uvicorn-fake-gcs"),
]


class Bucket(Media):
    """``root`` is a prefix of a bucket."""

    def __init__(self, server: Server, base: Path, engine: Engine) -> None:
        super().__init__(server, base)
        self.engine = engine
        self.store = engine.store(prefix="pre/fix")
        self.pause = 0.0
        """Seconds to wait after each upload."""

    def put(
        self,
        name: str | bytes,
        data: bytes,
        *,
        age: float = HOUR,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        try:
            key = os.fsencode(name).decode()
        except UnicodeDecodeError:
            pytest.skip("a key is text")
        try:
            self._upload(key, data, dict(attributes or {}))
        except ValueError as error:
            pytest.skip(f"no key: {error}")
        time.sleep(self.pause)
        return "/media/" + quote_from_bytes(key.encode())

    def _upload(self, key: str, data: bytes, attributes: dict[str, str]) -> None:
        if self.engine.kind == "gs":
            if "\n" in key:
                raise ValueError("obstore asks for no such key")
            _gcs_upload(self.engine.url, f"pre/fix/{key}", data, attributes)
        else:
            # At once: Azurite takes no upload in parts with attributes.
            put(self.store, key, data, attributes=attributes, use_multipart=False)


def _gcs_upload(url: str, key: str, data: bytes, attributes: Mapping[str, str]) -> None:
    """By Google's JSON interface: fake-gcs-server has no other one for uploads."""
    name = {"Content-Encoding": "contentEncoding", "Content-Disposition": "contentDisposition"}
    fields = {"name": key, **{name[field]: value for field, value in attributes.items()}}
    part = "--b\r\nContent-Type: {}\r\n\r\n"
    head = part.format("application/json") + json.dumps(fields) + "\r\n"
    body = (head + part.format("text/plain")).encode() + data + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/related; boundary=b"}
    url = f"{url}/upload/storage/v1/b/media/o?uploadType=multipart"
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60).close()


def settings(engine: Engine) -> dict[str, str]:
    """The environment from which a root of this engine takes its credentials."""
    common = {
        "PYTHONWARNINGS": "error::DeprecationWarning:media_asgi",
        # Else glibc keeps what is free again, and the memory that is measured is that of the past.
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }
    if engine.kind == "gs":
        return {**common, "STORAGE_EMULATOR_HOST": engine.url}
    if engine.kind == "az":
        config = engine.config()
        text = "AccountName={account_name};AccountKey={account_key};BlobEndpoint={endpoint}"
        return {**common, "AZURE_STORAGE_CONNECTION_STRING": text.format(**config)}
    return {
        **common,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": engine.url,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def serving(
    server: str, engine: Engine, base: Path, *, bucket: str = "media", **options: Any
) -> Iterator[Bucket]:
    root = f"{engine.kind}://{bucket}/pre/fix"
    locations: list[dict[str, Any]] = [
        {"url": "/media/", "root": root},
        {"url": "/media/inside/", "root": f"{root}/other"},
        {"url": "/fall/", "root": root, "fallthrough": True},
        {"url": "/dots/", "root": root, "dotfiles": True},
        {
            "url": "/own/",
            "root": root,
            "cache_control": "public, max-age=60",
            "immutable": r"\.[0-9a-f]{12}\.",
            "headers": {"X-Own": "yes"},
            "content_types": {".own": "application/x-own", ".txt": "text/x-own"},
        },
        {"url": "/internal/", "root": root, "access": "internal"},
        {"url": "/both/", "root": [os.fspath(base / "disk"), root]},
    ]
    (base / "disk").mkdir(exist_ok=True)
    environment = media(*locations) | settings(engine)
    with Server(server, env=environment, **options) as started:
        yield Bucket(started, base, engine)
