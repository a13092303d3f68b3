from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse_lazy
from django.utils.http import content_disposition_header
from django.views.generic import CreateView, ListView, TemplateView

from .models import Document, Shared, Upload


class Gallery(CreateView):
    """The newest uploads, below a form that adds one."""

    model = Upload
    fields = ("file", "title")
    template_name = "gallery/gallery.html"
    success_url = reverse_lazy("gallery")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            uploads=Upload.objects.all()[:60],
            media_url=settings.MEDIA_URL,
            static_url=settings.STATIC_URL,
            static_by="WhiteNoise" if settings.SITE_WHITENOISE else "media-asgi",
            **kwargs,
        )


class Documents(LoginRequiredMixin, CreateView):
    """One's own documents, and to staff everyone's, below a form that adds one."""

    model = Document
    fields = ("file", "title")
    template_name = "gallery/documents.html"
    success_url = reverse_lazy("documents")

    def form_valid(self, form: Any) -> HttpResponse:
        form.instance.owner = self.request.user
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        seen = Document.objects.select_related("owner")
        if not self.request.user.is_staff:
            seen = seen.filter(owner=self.request.user)
        return super().get_context_data(uploads=seen[:60], **kwargs)


@login_required
def document(request: HttpRequest, name: str) -> HttpResponse:
    """Hands a file over: who may see it is decided here, and MediaMiddleware serves it.

    Its URL is the internal location's own, which answers no client by itself: so the links that
    templates and the admin make lead here.
    """
    document = get_object_or_404(Document, file=name)
    if not document.may_be_seen_by(request.user):
        raise PermissionDenied
    response = HttpResponse(headers={"X-Accel-Redirect": document.file.url})
    if "download" in request.GET:
        response["Content-Disposition"] = content_disposition_header(True, document.name)
    return response


class Links(ListView):
    """Files with links that end, after as many seconds as one chooses."""

    template_name = "gallery/links.html"
    context_object_name = "uploads"
    choices = (10, 60, 300, 3600)

    def get_queryset(self) -> QuerySet[Shared]:
        uploads = Shared.objects.all()[:60]
        for upload in uploads:
            # Without arguments this is upload.file.url, as templates write it.
            upload.link = upload.file.storage.url(upload.file.name, expires_in=self.seconds)
            upload.download = upload.file.storage.url(
                upload.file.name, expires_in=self.seconds, download=True
            )
        return uploads

    @property
    def seconds(self) -> int:
        asked = self.request.GET.get("seconds", "")
        return int(asked) if asked in map(str, self.choices) else 300

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(choices=self.choices, seconds=self.seconds, **kwargs)


class Proofs(TemplateView):
    """What the README claims, to be tried."""

    template_name = "gallery/proofs.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # Without --no-video there is something larger.
        names = ("day.webm", "landscapes.zip")
        path = next(path for name in names if default_storage.exists(path := f"samples/{name}"))
        return super().get_context_data(
            page=default_storage.url("samples/trick.html"),
            download=default_storage.url(path),
            **kwargs,
        )
