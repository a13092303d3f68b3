import contextlib
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from gallery.samples import SAMPLES
from gallery.store import seaweedfs, upload, welcome

APPLICATION = "demo_site.asgi_channels:application"
ARGUMENTS = {
    "daphne": ("-v", "0", "--access-log", "-", "-b", "{host}", "-p", "{port}"),
    "uvicorn": ("--host", "{host}", "--port", "{port}"),
    "hypercorn": ("--bind", "{netloc}"),
    "granian": ("--interface", "asgi", "--host", "{host}", "--port", "{port}"),
}

WELCOME = """
  {site}/
      the gallery: upload a file, open it, seek the video, open the PDF
  {site}/proofs/
      an uploaded page that can't run, a download that resumes, and the memory of this server
      while four clients read nothing
  {site}/documents/
      documents for their owners alone, handed over by a view: ann / ann, ben / ben, admin / admin
  {site}/links/
      links that end: make some for ten seconds, and reload one after its end
  {site}/admin/
      Django's admin over the same files: admin / admin

Or from a terminal:

  curl -I {image}
  curl -r 0-99 -o /dev/null -D - {image}
  curl -I -H "If-None-Match: $(curl -sI -o /dev/null -w '%header{{etag}}' {image})" {image}

Stop with Ctrl-C.
"""


class Command(BaseCommand):
    help = "Prepares the site and serves it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0 for any free one")
        parser.add_argument("--server", choices=ARGUMENTS, default="daphne")
        parser.add_argument("--no-video", dest="video", action="store_false", help="save seconds")
        parser.add_argument("--objects", action="store_true", help="public files in SeaweedFS")
        parser.add_argument(
            "--without-whitenoise",
            dest="whitenoise",
            action="store_false",
            help="static files by Location.static()",
        )

    def handle(
        self,
        *,
        host: str,
        port: int,
        server: str,
        video: bool,
        objects: bool,
        whitenoise: bool,
        **options: Any,
    ) -> None:
        if importlib.util.find_spec(server) is None:
            raise CommandError(f"{server} is not installed: add --with {server} after uv run.")
        port = self.free_port(host, port)
        if objects and "SITE_BUCKET" not in os.environ:
            self.with_store()
            return
        call_command("prepare", video=video)
        if "SITE_BUCKET" in os.environ:
            upload(settings.MEDIA_ROOT, [f"samples/{name}" for name in SAMPLES])
        with contextlib.suppress(KeyboardInterrupt):
            self.serve(server, host, port, whitenoise=whitenoise)

    def with_store(self) -> None:
        """Run the same command beside a store, with settings that name it."""
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, stop)
        with contextlib.suppress(KeyboardInterrupt):
            with seaweedfs(settings.SITE_DATA / "store") as environment:
                environment = os.environ | environment
                with subprocess.Popen([sys.executable, *sys.argv], env=environment) as process:
                    try:
                        process.wait()
                    finally:
                        process.terminate()

    def serve(self, server: str, host: str, port: int, *, whitenoise: bool) -> None:
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        arguments = [part.format(host=host, port=port, netloc=netloc) for part in ARGUMENTS[server]]
        # The end of the terminal, and of this process, is the server's end too.
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, stop)
        process = subprocess.Popen(
            [sys.executable, "-m", server, *arguments, APPLICATION],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "SITE_DATA": str(settings.SITE_DATA),
                "SITE_WHITENOISE": str(int(whitenoise)),
            },
            start_new_session=True,  # Ctrl-C is for us alone: the server would print of it
        )
        try:
            while process.poll() is None and not listens(host, port):
                time.sleep(0.1)
            if process.poll() is None:
                site = f"http://{netloc}"
                image = f"{site}{settings.MEDIA_URL}samples/dawn.jpg"
                self.stdout.write(welcome(site, settings.MEDIA_URL))
                self.stdout.write(WELCOME.format(site=site, image=image))
                self.stdout.flush()
                process.wait()
            raise CommandError(f"{server} has ended with status {process.returncode}.")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def free_port(self, host: str, port: int) -> int:
        """Fails before the work rather than after it if the server could not listen."""
        if not 0 <= port <= 65535:
            raise CommandError(f"--port {port}: a port is a number from 0 to 65535.")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.create_server((host, port), family=family) as listener:
                return int(listener.getsockname()[1])
        except OSError as error:
            reason = str(error.strerror).partition(" (while")[0]  # the address, which is said here
            cure = "Give --host an address of this machine."
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                cure = (
                    f"Choose another one, such as --port {port % 65535 + 1}, or --port 0 for any."
                )
            raise CommandError(
                f"Can't listen on port {port} of {host}: {reason}. {cure}"
            ) from error


def stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), timeout=1).close()
        return True
    return False
