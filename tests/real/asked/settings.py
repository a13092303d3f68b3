"""Its data lie in a folder of the test's own. The environment may change any setting."""

import json
import os
from pathlib import Path

DATA = Path(os.environ.get("ASKED_DATA", ""))

SECRET_KEY = "for these tests alone"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.real.asked.urls"
LOGIN_URL = "log-in"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.sites",
    "django_otp",
    "django_otp.plugins.otp_static",
    "corsheaders",
    "rest_framework",
    "rest_framework.authtoken",
    "tests.real.asked",
]
MIDDLEWARE = [
    "media_asgi.responses.FileResponseMiddleware",
    "tests.real.asked.middleware.Counted",
    "django.middleware.cache.UpdateCacheMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tests.real.asked.middleware.Remote",
    "django_otp.middleware.OTPMiddleware",
    "tests.real.asked.middleware.tenant",
    "tests.real.asked.middleware.maintenance",
    "django.contrib.sites.middleware.CurrentSiteMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "django.contrib.auth.backends.RemoteUserBackend",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"403.html": "own 403 {{ exception }}", "404.html": "own 404 for all"},
                )
            ]
        },
    }
]

# With these, Django's own redirect to the login is /en/log-in/.
LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]

CORS_ALLOWED_ORIGINS = ["https://app.example"]
CORS_ALLOW_CREDENTIALS = True

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast
SITE_ID = 1
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = DATA / "media"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"named": {"format": "%(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "named"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

globals().update(json.loads(os.environ.get("ASKED_SETTINGS", "{}")))
