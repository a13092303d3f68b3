"""As in production: DEBUG is off, so Django itself serves neither static nor media files."""

import os
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

# All that the site makes goes here; each test run points SITE_DATA at a folder of its own.
SITE_DATA = Path(os.environ.get("SITE_DATA") or BASE_DIR / "data").resolve()
SITE_DATA.mkdir(parents=True, exist_ok=True)


def secret_key(path: Path) -> str:
    with suppress(FileExistsError), open(path, "x", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write(get_random_secret_key())
    return path.read_text()


SECRET_KEY = secret_key(SITE_DATA / "secret_key")
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "gallery",
    "media_asgi",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
SITE_WHITENOISE = os.environ.get("SITE_WHITENOISE") != "0"
if not SITE_WHITENOISE:  # then demo_site/asgi_channels.py serves the static files
    MIDDLEWARE.remove("whitenoise.middleware.WhiteNoiseMiddleware")

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "demo_site.urls"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "documents"
LOGOUT_REDIRECT_URL = "gallery"
ASGI_APPLICATION = "demo_site.asgi_channels.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SITE_DATA / "db.sqlite3",
        # Writers wait for each other instead of failing with "database is locked".
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = SITE_DATA / "static"
MEDIA_URL = "/media/"
MEDIA_ROOT = SITE_DATA / "media"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    # Outside MEDIA_ROOT: not everybody may see these.
    "protected": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": SITE_DATA / "protected", "base_url": "/protected/"},
    },
    "shared": {
        "BACKEND": "media_asgi.storage.SignedMediaStorage",
        "OPTIONS": {"location": SITE_DATA / "shared", "base_url": "/shared/", "expires_in": 300},
    },
}
if bucket := os.environ.get("SITE_BUCKET"):  # in the store that AWS_ENDPOINT_URL names
    STORAGES["default"] = {
        "BACKEND": "demo_site.storage.Media",
        "OPTIONS": {"bucket_name": bucket, "file_overwrite": False},
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

# Off by default, because the demonstration speaks plain HTTP.
if os.environ.get("SITE_HTTPS") == "1":
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
