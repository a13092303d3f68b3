"""Middleware of a project's own."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import PersistentRemoteUserMiddleware
from django.http import HttpResponse


class Counted:
    """Says when it is made, which takes its time."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        import time

        time.sleep(0.2)
        print("middleware is made", flush=True)
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response["X-Counted"] = "1"
        response["Content-Disposition"] = "inline"
        response["Expires"] = "0"
        response["Pragma"] = "no-cache"
        return response


class Remote(PersistentRemoteUserMiddleware):
    """A proxy has logged the user in."""

    header = "REMOTE_USER_OF_THE_PROXY"

    def process_request(self, request: Any) -> None:
        if name := request.headers.get("X-Remote-User"):
            request.META[self.header] = name
        super().process_request(request)

    async def aprocess_request(self, request: Any) -> None:
        from asgiref.sync import sync_to_async

        await sync_to_async(self.process_request)(request)


def tenant(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The tenant is the first label of the host, and has URLs of its own."""

    def middleware(request: Any) -> Any:
        request.tenant = request.get_host().partition(".")[0]
        if request.tenant == "tenant-b":
            request.urlconf = "tests.real.asked.urls_of_tenant_b"
        return get_response(request)

    return middleware


def maintenance(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Answers in place of the view after it was asked."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        instead = request.GET.get("instead")
        if instead == "page":
            return HttpResponse("down for maintenance", status=503)
        if instead == "copy":  # with the same headers, status and body
            return HttpResponse(response.content, headers=dict(response.headers))
        if instead == "body":
            response.content = b"paid files"
        if instead == "status":
            response.status_code = 402
        return response

    return middleware
