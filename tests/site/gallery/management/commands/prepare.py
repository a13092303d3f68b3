from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, call_command

from gallery.samples import DOCUMENTS, make_samples


class Command(BaseCommand):
    help = "Makes all that the site needs: database, users, static files, sample media."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-video", dest="video", action="store_false", help="save seconds")

    def handle(self, *, video: bool, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", password="admin")
        for name in DOCUMENTS:
            if not users.filter(username=name).exists():
                users.create_user(name, password=name)
        call_command("collectstatic", interactive=False, verbosity=0)
        make_samples(video=video)
