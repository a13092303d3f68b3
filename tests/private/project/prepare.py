"""Makes the project's data: a database with users, and folders."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.private.project.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402

for folder in ("protected", "signed", "asked", "linked", "media/documents"):
    (settings.DATA / folder).mkdir(parents=True)
for folder in ("media/members", "media/signed"):
    (settings.DATA / folder).mkdir()
call_command("migrate", run_syncdb=True, verbosity=0)
for name in ("alice", "bob"):
    User.objects.create_user(name, password="right")
User.objects.create_user("sue", password="right", is_staff=True)
reader = User.objects.create_user("rita", password="right", is_staff=True)
reader.groups.add(Group.objects.create(name="readers"))
