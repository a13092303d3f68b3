from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from gallery.views import Documents, Gallery, Links, Proofs, document

urlpatterns = [
    path("", Gallery.as_view(), name="gallery"),
    path("documents/", Documents.as_view(), name="documents"),
    path("protected/<path:name>", document),
    path("links/", Links.as_view(), name="links"),
    path("proofs/", Proofs.as_view(), name="proofs"),
    path("login/", LoginView.as_view(template_name="gallery/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
]
