"""Daphne without a proxy, and as in a container, by the README's own lines."""

import contextlib
import datetime
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..support.programs import lacking, program, unprivileged
from ..support.proxies import replaced
from ..support.readme import block
from ..support.servers import ROOT, reserved_port
from ..support.site import Browser, Site
from .test_startproject import ADMIN, MODELS, Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bare-daphne")]


def new_project(folder: Path) -> Project:
    project = Project(folder)
    project.environment.pop("DJANGO_SETTINGS_MODULE")
    project.run("-m", "django", "startproject", "mysite", ".")
    (folder / "mysite" / "asgi.py").write_text(block("# mysite/asgi.py"))
    project.add("settings.py", block("MEDIA_ROOT = "))
    (folder / "media").mkdir()
    return project


def issue_certificates(folder: Path) -> None:
    """The files of Let's Encrypt for example.com, and root.pem, which signs the intermediate."""
    names = ["root", "chain", "cert"]
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in names}
    subjects = {
        name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in names
    }
    now = datetime.datetime.now(datetime.UTC)
    for name, issuer in (("root", "root"), ("chain", "root"), ("cert", "chain")):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subjects[name])
            .issuer_name(subjects[issuer])
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name != "cert", path_length=None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.com")]), False)
        )
        made = builder.sign(keys[issuer], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        keys["cert"].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), 60)
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_daphne_ends_tls_with_its_whole_chain_and_redirects_what_is_plain(tmp_path: Path) -> None:
    project = new_project(tmp_path)
    project.add("settings.py", block("SECURE_PROXY_SSL_HEADER = "))
    project.add("settings.py", "SECURE_PROXY_SSL_HEADER = None\n")  # which the README leaves out
    (project.folder / "media" / "a.txt").write_text("over TLS")
    issue_certificates(tmp_path)
    plain, tls = reserved_port(), reserved_port()
    line = replaced(
        block("daphne -e tcp:80"),
        ("tcp:80", f"tcp:{plain}:interface=127.0.0.1"),
        ("ssl:443", f"ssl:{tls}:interface=127.0.0.1"),
        ("/etc/letsencrypt/live/example.com", str(tmp_path)),
    )
    name, *arguments = line.split()
    process = subprocess.Popen(
        [Path(sys.executable).with_name(name), *arguments], cwd=project.folder
    )
    try:
        context = ssl.create_default_context(cafile=tmp_path / "root.pem")
        with context.wrap_socket(connected(tls, process), server_hostname="example.com") as client:
            client.sendall(b"GET /media/a.txt HTTP/1.1\r\nHost: example.com\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.read()) == (200, b"over TLS")
        with connected(plain, process) as client:
            client.sendall(
                b"GET /media/a.txt HTTP/1.1\r\nHost: example.com\r\n"
                b"X-Forwarded-Proto: https\r\n\r\n"
            )
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 301
            assert answer.headers["location"] == "https://example.com/media/a.txt"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


class Listener(NamedTuple):
    """Looks like a `Server` to clients."""

    port: int

    def connect(self, **options: object) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Site]:
    """The project at /mnt, in a file system where only what compose.yaml names can be written."""
    web = yaml.safe_load(block("# compose.yaml"))["services"]["web"]
    assert web["read_only"] is True
    assert web["tmpfs"] == "/tmp"
    assert web["volumes"] == ["media:/app/media"]
    project = new_project(tmp_path)
    project.run("manage.py", "startapp", "papers")
    (tmp_path / "papers" / "models.py").write_text(MODELS)
    (tmp_path / "papers" / "admin.py").write_text(ADMIN)
    project.add("settings.py", 'INSTALLED_APPS += ["papers"]\n')
    # The database, which is another service there.
    project.add("settings.py", 'DATABASES["default"]["NAME"] = "/mnt/database/db.sqlite3"\n')
    (tmp_path / "database").mkdir()
    prepare = "".join(
        f"{sys.executable} manage.py {command} && "
        for command in (
            "makemigrations papers",
            "migrate",
            "createsuperuser --noinput --username=admin --email=admin@example.com",
        )
    )
    port = reserved_port()
    script = f"""
        mount --make-rprivate / && mount --bind {ROOT} /srv && mount -o remount,bind,ro /srv &&
        mount --bind {tmp_path} /mnt && cd /mnt && {prepare}
        mount --bind /mnt/media /mnt/media && mount --bind /mnt/database /mnt/database &&
        mount -o remount,bind,ro /mnt && mount -o remount,bind,ro / &&
        mount -t tmpfs tmpfs /tmp && mkdir -p {ROOT} && mount --bind /srv {ROOT} &&
        ! touch /mnt/mysite/new 2>/dev/null && ! touch /etc/new 2>/dev/null &&
        exec {" ".join(unprivileged())} {sys.executable} -m daphne -b 127.0.0.1 -p {port} \
            mysite.asgi:application
    """
    if subprocess.run([program("unshare"), "-m", "mount", "--make-rprivate", "/"]).returncode:
        lacking("a container that forbids mounts")
    process = subprocess.Popen(
        [program("unshare"), "-m", "sh", "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SUPERUSER_PASSWORD": "admin",
        },
        stdin=subprocess.DEVNULL,
    )
    try:
        connected(port, process).close()
        yield Site(Listener(port), tmp_path / "media")  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()


def test_an_upload_where_all_but_the_volume_is_read_only(contained: Site) -> None:
    browser = Browser(contained)
    browser.log_in()
    data = os.urandom(3_000_000)  # it goes through /tmp
    saved = browser.submit("/admin/papers/paper/add/", {}, ("large.bin", data))
    assert saved.status == 302, saved.body
    page = browser.get("/admin/papers/paper/").body.decode()
    change = re.search(r'href="(/admin/papers/paper/\d+/change/)', page)
    assert change
    link = re.search(r'href="(/media/papers/[^"]+)"', browser.get(change[1]).body.decode())
    assert link
    assert browser.get(link[1]).body == data
