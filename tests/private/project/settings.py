"""A project with private files. Its data lie in a folder of the test's own."""

import os
from pathlib import Path

DATA = Path(os.environ["PRIVATE_DATA"])
BACKEND = os.environ.get("PRIVATE_BACKEND", "nginx")

SECRET_KEY = "for these tests alone"
DEBUG = False
ALLOWED_HOSTS = ["*"]
FORCE_SCRIPT_NAME = os.environ.get("PRIVATE_SCRIPT_NAME")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "tests.private.project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
if os.environ.get("PRIVATE_RESPONSES"):
    MIDDLEWARE.insert(0, "media_asgi.responses.FileResponseMiddleware")
ROOT_URLCONF = "tests.private.project.urls"
LOGIN_URL = "log-in"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": False}]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast

MEDIA_URL = "/media/"
MEDIA_ROOT = DATA / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "signed": {
        "BACKEND": "media_asgi.storage.SignedMediaStorage",
        "OPTIONS": {"location": DATA / "signed", "base_url": "/signed/"},
    },
}

# django-sendfile2
SENDFILE_BACKEND = f"django_sendfile.backends.{BACKEND}"
SENDFILE_ROOT = DATA / "protected"
SENDFILE_URL = "/protected"

# django-downloadview
DOWNLOADVIEW_BACKEND = "django_downloadview.nginx.XAccelRedirectMiddleware"
DOWNLOADVIEW_RULES = [{"source_url": "/stored/", "destination_url": "/protected/"}]
if BACKEND == "xsendfile":
    # A sync middleware: with it Django runs async views in a way of their own.
    MIDDLEWARE += ["django_downloadview.SmartDownloadMiddleware"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
