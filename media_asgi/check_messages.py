"""
The messages of the system checks: each says the fault and the cure.
"""

from typing import NamedTuple

from django.core.checks import CheckMessage, Error, Warning


class Check(NamedTuple):
    sentence: str
    cure: str


# E: the server can't start, or it gives away or loses files. W: all other faults.
#
# Some run only with --deploy: they report states that are normal on a developer's machine (before
# the first upload, with DEBUG, a folder that a virtual machine shares with mode 0777), or that
# matter only on a machine on which other people have an account.
CHECKS = {
    "E001": Check(
        "MEDIA_ROOT is not set, so there is nothing to serve.",
        'Set it to the folder of the uploads, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E002": Check(
        "MEDIA_URL is {url}, so every page of the site would be taken for a file.",
        'Set it to a path of its own, such as MEDIA_URL = "/media/".',
    ),
    "E003": Check(
        "{root} is not a folder.",
        "Remove it, or set the folder that holds the files. To serve one file, give its location a "
        'url without a slash at the end, such as "/robots.txt".',
    ),
    "E004": Check(
        "{root} holds the project's own code ({code}), which clients could download.",
        'Give uploads a folder of their own, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E005": Check(
        "{root} holds a database ({database}), which clients could download.",
        "Move the database to another folder (NAME in DATABASES).",
    ),
    "E006": Check(
        "MEDIA_ROOT is STATIC_ROOT or lies in it ({static}): uploads are also served as static "
        'files, and "collectstatic --clear" deletes them.',
        "Give each a folder of its own.",
    ),
    "E007": Check(
        "{url} is a prefix of STATIC_URL ({static}), so a location answers for static files.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "E008": Check(
        "The cache of {url} ({cache}) is below {root}, so clients can have the objects in it.",
        "Give DiskCache a folder that is not below any folder of files.",
    ),
    "E009": Check(
        "ASGI_APPLICATION ({application}) can't be imported{place}: {error}",
        "Correct this first. A server can't start with it, and its locations can't be checked.",
    ),
    "E010": Check(
        "MIDDLEWARE has {name}, which is an ASGI middleware and not one of Django's.",
        "Remove it there. In asgi.py, write application = MediaMiddleware(get_asgi_application()).",
    ),
    "W001": Check(
        "ASGI_APPLICATION is not set, so Daphne's runserver and these checks don't know the "
        "application that serves the media.",
        'Set ASGI_APPLICATION = "{application}".',
    ),
    "W002": Check(
        "WSGI_APPLICATION is set, but ASGI_APPLICATION is not. A WSGI server doesn't serve the "
        "media.",
        'Set ASGI_APPLICATION = "{application}", and run it with an ASGI server.',
    ),
    "W004": Check(
        "No MediaMiddleware, which serves the media, was found after the import of "
        "ASGI_APPLICATION ({application}).",
        "Wrap the application: application = MediaMiddleware(get_asgi_application()). If it is "
        "made later, such as at the first request, the checks can't see it.",
    ),
    "W005": Check(
        '"manage.py runserver" is a WSGI server here ({command}), which doesn\'t call '
        "MediaMiddleware.",
        'Put "daphne" first in INSTALLED_APPS (after "whitenoise.runserver_nostatic" if you use '
        "it), or develop with an ASGI server.",
    ),
    "W006": Check(
        "{root} can't be read: {error}.",
        "Give the server's user the right to read and enter it.",
    ),
    "W007": Check(
        "MEDIA_ROOT holds STATIC_ROOT ({static}): static files are also served as media, and an "
        "upload can be saved among them.",
        "Give each a folder of its own.",
    ),
    "W008": Check(
        "{root} holds {secret}, which clients can download.",
        "Move it to another folder, or restrict the location with access.",
    ),
    "W009": Check(
        "{url} lies in STATIC_URL ({static}): a server of static files in front of "
        "MediaMiddleware, such as runserver with DEBUG, takes uploads for static files.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "W010": Check(
        "MEDIA_URL is relative ({url}) and FORCE_SCRIPT_NAME is set. Django resolves MEDIA_URL at "
        "its first use. That is at import, before the script name is known.",
        'Write it in full: MEDIA_URL = "{full}".',
    ),
    "W011": Check(
        "{url} is also served by django.views.static.serve, in the URLconf at {route}.",
        "Remove that view. MediaMiddleware serves the files with DEBUG too, and that view ignores "
        "the access of a location.",
    ),
    "W012": Check(
        "MEDIA_ROOT is WHITENOISE_ROOT or lies in it ({whitenoise}): WhiteNoise reads all uploads "
        "at start, and serves them as the site's own files.",
        "Give WHITENOISE_ROOT a folder of its own.",
    ),
    "W013": Check(
        "{root} is restricted (access={access}), but {public} makes the same files public.",
        "Give the restricted files a folder, or a prefix of the bucket, of their own. It may lie "
        "below a public root.",
    ),
    "W014": Check(
        "{setting} is {mode}, so the server's own user can't open an upload, and clients get 403.",
        "Set {setting} = {usual}, an octal number.",
    ),
    "W015": Check(
        "Uploads go to {folder} (the default storage), which is not in a location.",
        'Add Location.storage("default") to MediaMiddleware, or change the storage\'s location.',
    ),
    "W016": Check(
        "STORAGES[{alias}] signs its links, but {url} makes its files public.",
        "Add Location.storage({alias}) to MediaMiddleware. It requires the signature.",
    ),
    "W017": Check(
        "{root} does not exist.",
        "Create or mount it. The first upload would also create it.",
    ),
    "W018": Check(
        "Every user of this machine can write to {root} (mode {mode}), and so put files on the "
        "site. A sticky bit only keeps them from replacing the files of others.",
        "chmod o-w {folder}",
    ),
    "W019": Check(
        "WhiteNoise looks for new files at each request, because {setting} is on. This is slow, "
        "and WhiteNoise doesn't mean it for production.",
        "Set DEBUG = False, and leave WHITENOISE_AUTOREFRESH out.",
    ),
    "W020": Check(
        "FILE_UPLOAD_PERMISSIONS is None, so uploads over {size} bytes are saved with mode 0600. "
        "Other users (a worker, a backup) can't read them, but can read smaller ones.",
        "Leave it out (0o644), or set the mode for all uploads.",
    ),
    "W021": Check(
        "The cache of {url} ({cache}) {fault}.",
        "Give DiskCache a folder of its own, with mode 0700, on a disk of this machine.",
    ),
    "W022": Check(
        "{url} is public, but at {route} the URLconf guards the same files: "
        "django.views.static.serve is behind a login or a decorator, which MediaMiddleware never "
        "asks.",
        "Give the location an access that lets in the same users, such as "
        "media_asgi.access.authenticated. Then remove the view.",
    ),
    "W023": Check(
        "The links of STORAGES[{alias}] lead to its store, and pass {url} by, which serves it.",
        "Give it a class of yours as BACKEND: class MediaStorage(ServedStorage, {backend}): pass, "
        "with media_asgi.storage.ServedStorage.",
    ),
    "W024": Check(
        "{url} has sandbox=False, so an upload such as HTML or SVG runs as a page of the site, "
        "with its visitors' cookies.",
        "Give the location a host of another domain: url='/', host='media.example.net'. Or leave "
        "sandbox out.",
    ),
    "W025": Check(
        "MEDIA_ROOT is relative ({root}), so it is another folder if a command or a server starts "
        "in another folder.",
        'Write it in full, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "W026": Check(
        "ASGI_APPLICATION ({application}) is not a MediaMiddleware, but {kind}. If that replaces "
        "the send of Daphne, downloads have neither flow control nor sendfile.",
        "Let MediaMiddleware be the outermost: application = MediaMiddleware(...).",
    ),
    "W027": Check(
        "{setting} is relative ({url}). Django resolves it by the root path of its first request, "
        "and Daphne takes that from the request header Daphne-Root-Path, which any client can "
        "write: all pages would link to another site.",
        'Write it in full: {setting} = "/{full}".',
    ),
}


def message(key: str, **names: object) -> CheckMessage:
    """The message ``key`` of Django's check framework. ``names`` fill its placeholders."""
    check = CHECKS[key]
    kind = Error if key.startswith("E") else Warning
    return kind(
        check.sentence.format(**names), hint=check.cure.format(**names), id=f"media_asgi.{key}"
    )
