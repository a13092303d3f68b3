"""The README's settings for each kind of store, pasted into a new project, with a real store."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ..support.readme import README, block
from ..test_readme import FIRST, GET, OF_STORES, STORIES, paste
from .engines import ACCESS_KEY, SECRET_KEY, Engine, running, weed, weed_shell
from .raw import raw_store, refuse

pytestmark = pytest.mark.xdist_group("objects")

RUN = f"""
import asyncio, importlib, os, sys

sys.path.insert(0, os.getcwd())
application = importlib.import_module("mysite.asgi").application

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command

call_command("check", fail_level="WARNING")
name = default_storage.save("folder/hello.txt", ContentFile(b"hello"))
{GET}

async def ask():
    assert default_storage.url(name) == "/media/folder/hello.txt"
    for _ in range(2):
        assert await get("/media/folder/hello.txt") == (200, b"hello")
    assert (await get("/media/missing.txt"))[0] == 404

asyncio.run(ask())
"""

# Who asks the address from which a cloud's machine has its role asks here.
ROLE = (
    *("AWS_METADATA_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_STS"),
    *("GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT", "IDENTITY_ENDPOINT"),
)

S3, COMPOSE, GOOGLE, AZURE = OF_STORES
ENGINE = {S3: "moto", GOOGLE: "fake-gcs", AZURE: "azurite"}


@contextlib.contextmanager
def composed(folder: Path) -> Iterator[tuple[Engine, dict[str, str]]]:
    """The store of the compose file, and the environment that the site has there."""
    services = yaml.safe_load(block("chrislusf/seaweedfs"))["services"]
    keys = {name: os.path.expandvars(one) for name, one in services["store"]["environment"].items()}
    assert services["web"]["environment"] == services["store"]["environment"]
    folder.mkdir()
    with weed(folder, services["store"]["command"].split(), {**clean(), **keys}) as engine:
        found = re.search(r"`echo (.+) \| docker compose exec -T store weed shell`", README)
        assert found
        weed_shell(engine, found[1])
        yield engine, keys


def clean() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "GOOGLE_", "AZURE_", "DJANGO_SETTINGS"))
    }


def environment(engine: Engine) -> dict[str, str]:
    """As the README says, and what leads the tools of a cloud to this machine."""
    if engine.kind == "gs":
        return {"STORAGE_EMULATOR_HOST": engine.url}
    if engine.kind == "az":
        text = "AccountName={account_name};AccountKey={account_key};BlobEndpoint={endpoint}"
        return {"AZURE_STORAGE_CONNECTION_STRING": text.format(**engine.config())}
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": engine.url,
    }


def make_project(folder: Path, title: str, engine: Engine) -> None:
    folder.mkdir()
    startproject = [sys.executable, "-m", "django", "startproject", "mysite", str(folder)]
    subprocess.run(startproject, check=True, timeout=60)
    blocks = [*FIRST[:2], *STORIES[S3], *(STORIES[title] if title != S3 else [])]
    for file, code in blocks:
        code = code.replace("http://store:8333", engine.url)
        paste(folder, file, code.replace("/var/cache/mysite", f"{folder}/cache"))


@pytest.mark.slow
@pytest.mark.parametrize("title", OF_STORES, ids=["S3", "compose", "Google", "Azure"])
def test_the_settings_of_the_readme(title: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        if title == COMPOSE:
            engine, given = stack.enter_context(composed(tmp_path / "store"))
        else:
            engine = stack.enter_context(running(ENGINE[title], tmp_path / "store"))
            given = environment(engine)
        roles = stack.enter_context(raw_store(lambda client, _: refuse(client, "403 Forbidden")))
        make_project(tmp_path / "project", title, engine)
        done = subprocess.run(
            # django-storages calls it for Azure; deprecated since Python 3.12.
            [*(sys.executable, "-W", "error"), "-W", "ignore:datetime.datetime.utcnow", "-c", RUN],
            cwd=tmp_path / "project",
            env=clean() | given | dict.fromkeys(ROLE, roles.url),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert roles.requests == []


def test_a_store_of_each_kind_is_in_the_readme() -> None:
    assert len(OF_STORES) == 4
    assert all(name in "".join(OF_STORES) for name in ("S3", "MinIO", "Google", "Azure"))
