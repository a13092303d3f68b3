"""Makes the project's data: a database with users, and files."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.real.asked.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sites.models import Site  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django_otp.plugins.otp_static.models import StaticDevice  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

from .models import Doc  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
for name in ("alice", "bob"):
    user = User.objects.create_user(name, password="right")
StaticDevice.objects.create(user=user, name="bob's")
Token.objects.create(user=user, key="bobs-token")
Site.objects.update(domain="site.example")
for name in ("known.bin", "absent.bin"):
    Doc.objects.create(file=name)

for folder in ("media", "asking", "files/tenant-a", "files/tenant-b", "files/site.example"):
    (settings.DATA / folder).mkdir(parents=True)
data = bytes(range(256)) * 40
for name in ("files/known.bin", "files/tenant-a/a", "files/tenant-b/a", "files/site.example/a"):
    (settings.DATA / name).write_bytes(data)
    os.utime(settings.DATA / name, (1e9, 1e9))
(settings.DATA / "media/a.txt").write_bytes(b"public")
(settings.DATA / "files/page.html").write_bytes(b"<script>1</script>")
