"""django-storages' own storages, behind a server: uploaded by Django, served by the middleware."""

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.base import ContentFile
from django.utils.module_loading import import_string

from ..conformance.support import noise
from ..support.client import Connection
from ..support.servers import Server
from .engines import ACCESS_KEY, SECRET_KEY, Engine

pytestmark = pytest.mark.xdist_group("objects")

S3 = "storages.backends.s3.S3Storage"


def options(engine: Engine) -> tuple[str, dict[str, Any]]:
    """Backend and OPTIONS of the storage for an engine."""
    if engine.kind == "az":
        text = "AccountName={account_name};AccountKey={account_key};BlobEndpoint={endpoint}"
        return "storages.backends.azure_storage.AzureStorage", {
            "azure_container": "media",
            "location": "loc",
            "connection_string": text.format(**engine.config()),
        }
    return S3, {
        "bucket_name": "media",
        "location": "loc",
        "endpoint_url": engine.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "region_name": "us-east-1",
        "gzip": True,
    }


def serve(engine: Engine, *, cache: Path | None = None, **location: Any) -> Server:
    backend, given = options(engine)
    environment: Mapping[str, str] = {
        "MEDIA_STORAGE": json.dumps({"BACKEND": backend, "OPTIONS": given}),
        "MEDIA_LOCATION": json.dumps(location),
        **({"MEDIA_CACHE": os.fspath(cache)} if cache else {}),
    }
    return Server("uvicorn", "tests.apps.stored:application", env=environment)


def save(engine: Engine, name: str, data: bytes) -> None:
    backend, given = options(engine)
    import_string(backend)(**given).save(name, ContentFile(data))


@pytest.mark.slow
def test_uploads_of_a_storage_are_served(engine: Engine) -> None:
    if engine.kind == "gs":
        pytest.skip("its storage has no option for an emulator")
    data = noise(300_000)
    save(engine, "folder/a b.bin", data)
    with serve(engine) as server, Connection(server) as client:
        response = client.get("/media/folder/a%20b.bin")
        assert (response.status, response.body) == (200, data)
        assert client.get("/media/loc/folder/a%20b.bin").status == 404


def test_an_upload_with_gzip_is_served_to_all(seaweedfs: Engine) -> None:
    text = b"body { color: red }\n" * 1000
    save(seaweedfs, "site.css", text)
    with serve(seaweedfs) as server, Connection(server) as client:
        assert client.get("/media/site.css").body == text
        packed = client.get("/media/site.css", [("Accept-Encoding", "gzip")])
        assert packed["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == text


def test_a_bucket_behind_a_cache(seaweedfs: Engine, tmp_path: Path) -> None:
    data, text = noise(300_000), b"a {}\n" * 1000
    save(seaweedfs, "cached.bin", data)
    save(seaweedfs, "cached.css", text)
    with serve(seaweedfs, cache=tmp_path / "cache") as server, Connection(server) as client:
        for _ in range(3):
            assert client.get("/media/cached.bin").body == data
            part = client.get("/media/cached.bin", [("Range", "bytes=9-99")])
            assert (part.status, part.body) == (206, data[9:100])
            assert client.get("/media/cached.css").body == text
            packed = client.get("/media/cached.css", [("Accept-Encoding", "gzip")])
            assert gzip.decompress(packed.body) == text
            assert client.get("/media/missing.bin").status == 404


def test_links_of_a_served_storage_lead_to_its_file(seaweedfs: Engine) -> None:
    from media_asgi.storage import ServedStorage

    backend, given = options(seaweedfs)
    served = type("Served", (ServedStorage, import_string(backend)), {})
    storage = served(base_url="/media/", **given)
    name = storage.save("linked ö.txt", ContentFile(b"linked"))
    with serve(seaweedfs) as server, Connection(server) as client:
        assert client.get(urlsplit(storage.url(name)).path).body == b"linked"
