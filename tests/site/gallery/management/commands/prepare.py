import hashlib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, call_command

from gallery.samples import DOCUMENTS, make_samples


class Command(BaseCommand):
    help = "Makes all that the site needs: database, users, static files, sample media."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-video", dest="video", action="store_false", help="save seconds")

    def handle(self, *, video: bool, **options: Any) -> None:
        stamp = Path(settings.SITE_DATA, "prepared")
        version = fingerprint(video)
        made = (settings.DATABASES["default"]["NAME"], settings.MEDIA_ROOT, settings.STATIC_ROOT)
        if (
            stamp.exists()
            and stamp.read_text() == version
            and all(Path(path).exists() for path in made)
        ):
            return
        self.stdout.write("Preparing the database, static files and sample media, once:")
        self.stdout.write("this takes ten to thirty seconds ...")
        self.stdout.flush()
        call_command("migrate", interactive=False, verbosity=0)
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", password="admin")
        for name in DOCUMENTS:
            if not users.filter(username=name).exists():
                users.create_user(name, password=name)
        call_command("collectstatic", interactive=False, verbosity=0)
        make_samples(video=video)
        stamp.write_text(version)


def fingerprint(video: bool) -> str:
    """Of all that decides what is prepared."""
    digest = hashlib.sha256(f"{django.__version__} {video}".encode())
    for folder in ("demo_site", "gallery"):
        for path in sorted(Path(settings.BASE_DIR, folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(str(path.relative_to(settings.BASE_DIR)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
