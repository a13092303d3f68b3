from django.urls import path

from .urls import cms, enter

handler404 = "tests.real.asked.urls_of_tenant_b.not_found"


def not_found(request: object, exception: object) -> object:
    from django.http import HttpResponse

    return HttpResponse("tenant b's own 404", status=404)


urlpatterns = [path("b/log-in/", enter, name="log-in"), path("<path:slug>/", cms)]
