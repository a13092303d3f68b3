import os
import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

APPLICATION = "demo_site.asgi_channels:application"
ARGUMENTS = {
    "daphne": ("-b", "{host}", "-p", "{port}"),
    "uvicorn": ("--host", "{host}", "--port", "{port}"),
    "hypercorn": ("--bind", "{netloc}"),
    "granian": ("--interface", "asgi", "--host", "{host}", "--port", "{port}"),
}

WELCOME = """
  {site}/
      the gallery: upload a file, open it, seek the video, open the PDF
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

    def handle(self, *, host: str, port: int, server: str, video: bool, **options: Any) -> None:
        port = self.free_port(host, port)
        self.stdout.write("Preparing the database, static files and sample media ...")
        call_command("prepare", video=video)

        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        site = f"http://{netloc}"
        image = f"{site}{settings.MEDIA_URL}samples/dawn.jpg"
        self.stdout.write(WELCOME.format(site=site, image=image))
        self.stdout.flush()

        arguments = [part.format(host=host, port=port, netloc=netloc) for part in ARGUMENTS[server]]
        command = [sys.executable, "-m", server, *arguments, APPLICATION]
        os.chdir(settings.BASE_DIR)
        os.execve(command[0], command, os.environ | {"SITE_DATA": str(settings.SITE_DATA)})

    def free_port(self, host: str, port: int) -> int:
        """Fails before the work rather than after it if the address is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.create_server((host, port), family=family) as listener:
                return int(listener.getsockname()[1])
        except OSError as error:
            raise CommandError(f"Can't listen on {host}, port {port}: {error}") from error
