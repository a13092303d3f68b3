"""One location of each access, and guarded folders within the public one."""

import logging
import os
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.private.project.settings")

bare = get_asgi_application()  # what nginx has behind it

from media_asgi import Location, MediaMiddleware  # noqa: E402
from media_asgi.signals import file_sent  # noqa: E402
from media_asgi.sources.openat2 import KERNEL  # noqa: E402

from . import access  # noqa: E402

if os.environ.get("PRIVATE_RESOLVER") == "portable":  # as where there is no openat2(2)
    KERNEL.openat2 = KERNEL.cached = False


def tell(path: str, user: object, **_: object) -> None:
    logging.getLogger(__name__).warning("sent %s to %s", path, user)


if os.environ.get("PRIVATE_LISTEN"):
    file_sent.connect(tell)

PREDICATES: dict[str, Any] = {
    "members": access.member,
    "staff": access.staff,
    "object": access.Listed(),
    "object-later": access.ListedLater(),
    "partial": access.partial,
    "partial-later": access.partial_later,
    "vague": access.vague,
    "failing": access.failing,
    "failing-later": access.failing_later,
    "telling": access.telling,
}

application = MediaMiddleware(
    bare,
    Location.media(),
    Location(url="/protected/", root=settings.SENDFILE_ROOT, access="internal"),
    Location.storage("signed"),
    *(
        Location(url=f"/{name}/", root=settings.DATA / "asked", access=predicate)
        for name, predicate in PREDICATES.items()
    ),
    Location(
        url="/redirecting/",
        root=settings.DATA / "asked",
        access=access.member,
        login_redirect=True,
    ),
    Location(
        url="/redirecting-later/",
        root=settings.DATA / "asked",
        access=access.staff,
        login_redirect=True,
    ),
    # Within the public folder.
    Location(url="/media/documents/", root=settings.MEDIA_ROOT / "documents", access="internal"),
    Location(url="/media/members/", root=settings.MEDIA_ROOT / "members", access=access.member),
    Location(url="/media/signed/", root=settings.MEDIA_ROOT / "signed", access="signed"),
    # A public folder with everything that it links to, but for what others guard.
    Location(url="/linked/", root=settings.DATA / "linked", follow_symlinks=True),
)
