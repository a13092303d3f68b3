"""The README's proxies as real processes, each on a port and with a certificate of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from .programs import program
from .readme import README, block
from .servers import Server, certificate, reserved_port

NGINX = """
daemon off;
master_process off;
error_log {own}/error.log warn;
pid {own}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    {site}
}}
"""

# Caddy makes a certificate of its own, since it can't ask for one here.
CADDY = """
{{
    admin off
    skip_install_trust
    auto_https disable_redirects
    https_port {port}
    storage file_system {own}
}}
{site}
"""

# What the balancers of the clouds do, by their manuals: they append to what the client wrote.
BALANCER = """
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend site
    bind 127.0.0.1:{port} ssl crt {own}/certificate.pem
    acl written req.hdr(X-Forwarded-For) -m found
    http-request set-header X-Forwarded-For "%[req.hdr(X-Forwarded-For)], %[src]" if written
    http-request set-header X-Forwarded-For %[src] unless written
    http-request set-header X-Forwarded-Proto https
    default_backend site
backend site
    server site 127.0.0.1:{behind}
"""


def replaced(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy before a server, for the name example.com, over TLS."""

    def __init__(self, name: str, behind: Server) -> None:
        self.port = reserved_port()
        self._own = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._command: list[str | Path] = getattr(self, f"_{name}")(behind)
        self._log = open(self._own / "log", "wb")  # noqa: SIM115, it lives as long as the proxy
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "HOME": str(self._own)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _nginx(self, behind: Server) -> list[str | Path]:
        key, chain = certificate()
        site = replaced(
            block("proxy_set_header X-Forwarded-For"),
            ("    listen 80;\n", ""),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;"),
            ("/etc/letsencrypt/live/example.com/fullchain.pem", str(chain)),
            ("/etc/letsencrypt/live/example.com/privkey.pem", str(key)),
        )
        if behind.unix:
            line = "proxy_pass http://unix:/run/mysite/daphne.sock;"
            assert f"`{line}`" in README
            site = replaced(site, ("proxy_pass http://127.0.0.1:8000;", line))
            site = replaced(site, ("/run/mysite/daphne.sock", str(behind.unix)))
        else:
            site = replaced(site, ("127.0.0.1:8000", f"127.0.0.1:{behind.port}"))
        path = self._write(NGINX.format(own=self._own, site=site))
        return [program("nginx"), "-e", self._own / "log", "-c", path]

    def _caddy(self, behind: Server) -> list[str | Path]:
        site = replaced(
            block("    reverse_proxy "),
            ("example.com {\n", "example.com {\n    tls internal\n    bind 127.0.0.1\n"),
        )
        if behind.unix:
            line = "reverse_proxy unix//run/mysite/daphne.sock"
            assert f"`{line}`" in README
            site = replaced(site, ("reverse_proxy 127.0.0.1:8000", line))
            site = replaced(site, ("/run/mysite/daphne.sock", str(behind.unix)))
        else:
            site = replaced(site, ("127.0.0.1:8000", f"127.0.0.1:{behind.port}"))
        path = self._write(CADDY.format(own=self._own, port=self.port, site=site))
        return [program("caddy"), "run", "--config", path, "--adapter", "caddyfile"]

    def _balancer(self, behind: Server) -> list[str | Path]:
        key, chain = certificate()
        both = chain.read_bytes() + key.read_bytes()
        (self._own / "certificate.pem").write_bytes(both)
        path = self._write(BALANCER.format(own=self._own, port=self.port, behind=behind.port))
        return [program("haproxy"), "-db", "-f", path]

    def _write(self, text: str) -> Path:
        path = self._own / "configuration"
        path.write_text(text)
        return path

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        return (self._own / "log").read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
