"""Each kind of answer: public, handed over and signed files, and what is refused."""

import os

from django.conf import settings

from media_asgi import Location, MediaMiddleware
from media_asgi.signing import sign_url

from . import apps

if not settings.configured:
    settings.configure(SECRET_KEY="tests")


async def views(scope: object, receive: object, send: object) -> None:
    """Hands over what is asked for beneath /hand-over/."""
    assert isinstance(scope, dict)
    if scope["type"] == "http" and scope["path"].startswith("/hand-over/"):
        target = "/internal/" + scope["path"].removeprefix("/hand-over/")
        headers = [(b"x-accel-redirect", target.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]
        return
    await apps.application(scope, receive, send)


apps.told["/__signed__"] = lambda: sign_url("/signed/kinds.bin", expires_in=3600)

media = MediaMiddleware(
    views,
    Location(url="/media/", root=apps.ROOT),
    Location(url="/impatient/", root=apps.ROOT),  # what the site itself asks for
    Location(url="/internal/", root=apps.ROOT, access="internal"),
    Location(url="/signed/", root=os.fspath(apps.ROOT), access="signed"),
    **{"send_timeout": 2, **apps.OPTIONS},
)
