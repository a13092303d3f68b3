import os

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.real.asked.settings")
django = get_asgi_application()

from media_asgi import Location, MediaMiddleware  # noqa: E402

from .access import PREDICATES  # noqa: E402

_files = settings.DATA / "files"

public = MediaMiddleware(django, Location.media(access="public"))
application = MediaMiddleware(
    django,
    Location.media(access="public"),
    Location(url="/internal/", root=_files, access="internal"),
    *(
        Location(url=f"/{name}/", root=_files, access=predicate)
        for name, predicate in PREDICATES.items()
    ),
    *(
        Location(url=f"/login-{name}/", root=_files, access=PREDICATES[name], login_redirect=True)
        for name in ("authenticated", "members")
    ),
    Location(url="/through/", root=_files, access=PREDICATES["docs"], fallthrough=True),
    Location(url="/who/", root=_files, access=PREDICATES["authenticated"], fallthrough=True),
    Location(url="/sends/through/", root=_files, access=PREDICATES["seen"], fallthrough=True),
    Location(
        url="/shared/",
        root=_files,
        access=PREDICATES["open-to-all"],
        cors=["https://shared.example"],
        headers={"X-Frame-Options": "SAMEORIGIN", "X-Counted": "location"},
    ),
)
