from typing import Any

from django.conf import settings
from django.urls import reverse_lazy
from django.views.generic import CreateView

from .models import Upload


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
            **kwargs,
        )
