from django.contrib import admin
from django.urls import path
from gallery.views import Gallery

urlpatterns = [
    path("", Gallery.as_view(), name="gallery"),
    path("admin/", admin.site.urls),
]
