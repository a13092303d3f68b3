"""
The messages of the system checks: what is wrong, and the cure.
"""

from typing import NamedTuple

from django.core.checks import CheckMessage, Error, Warning


class Check(NamedTuple):
    sentence: str
    cure: str
    deploy: bool = False
    """Only with ``--deploy``."""


# E: a server can't start with it, or gives away or loses files. W: anything less.
#
# With --deploy alone: what is ordinary on a developer's machine (no upload yet, DEBUG, a folder
# that a virtual machine shares with mode 0777), and what counts only where others have an account.
CHECKS = {
    "E001": Check(
        "MEDIA_ROOT is not set, so there is no folder to serve.",
        'Set it to the folder that uploads go to, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E002": Check(
        "MEDIA_URL is {url}, under which every page of the site would be taken for a file.",
        'Set it to a path of its own, such as MEDIA_URL = "/media/".',
    ),
    "E003": Check(
        "{root} is not a folder.",
        "Remove what is there, or name the folder that holds the files.",
    ),
    "E004": Check(
        "{root} holds the project's own code ({code}), which would be served like an upload.",
        'Give uploads a folder of their own, such as MEDIA_ROOT = BASE_DIR / "media".',
    ),
    "E005": Check(
        "{root} holds a database ({database}), which would be served like an upload.",
        "Move the database out of it (NAME in DATABASES).",
    ),
    "E006": Check(
        "MEDIA_ROOT is STATIC_ROOT or lies in it ({static}): uploads are served as static files, "
        'too, and "collectstatic --clear" deletes them.',
        "Give each a folder of its own.",
    ),
    "E007": Check(
        "{url} hides STATIC_URL ({static}): static files are looked for among the media.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "W001": Check(
        "ASGI_APPLICATION is not set: Daphne's runserver and these checks don't know which "
        "application serves the media.",
        'Set ASGI_APPLICATION = "{application}".',
    ),
    "W002": Check(
        "WSGI_APPLICATION is set and ASGI_APPLICATION is not: under WSGI nothing serves the media.",
        'Set ASGI_APPLICATION = "{application}", and run that under an ASGI server.',
    ),
    "W003": Check(
        "ASGI_APPLICATION ({application}) can't be imported: {error}",
        "Correct this first: no server can start with it, and what it serves can't be checked.",
    ),
    "W004": Check(
        "ASGI_APPLICATION ({application}) has no MediaMiddleware, so nothing serves the media.",
        "Wrap it where it is made: application = MediaMiddleware(get_asgi_application()).",
    ),
    "W005": Check(
        '"manage.py runserver" is a WSGI server here ({command}), which never asks '
        "MediaMiddleware.",
        'Put "daphne" first in INSTALLED_APPS (only "whitenoise.runserver_nostatic" goes before '
        "it), or develop with an ASGI server.",
    ),
    "W006": Check(
        "{root} can't be read: {error}.",
        "Let the user that the server runs as read and enter it.",
    ),
    "W007": Check(
        "MEDIA_ROOT holds STATIC_ROOT ({static}): static files are served as media, too, and an "
        "upload can be saved among them.",
        "Give each a folder of its own.",
    ),
    "W008": Check(
        "{root} holds {secret}, which is to be nobody's to read.",
        "Move it out. Such names are served only where the dotfiles option says so.",
    ),
    "W009": Check(
        "{url} lies in STATIC_URL ({static}): what serves static files in front of "
        "MediaMiddleware, such as runserver with DEBUG, takes uploads for some of them.",
        'Give each a path of its own, such as MEDIA_URL = "/media/" and STATIC_URL = "/static/".',
    ),
    "W010": Check(
        "MEDIA_URL is relative ({url}) and FORCE_SCRIPT_NAME is set: Django resolves it once, when "
        "it is first read, and at import there is no script name yet.",
        'Write it in full: MEDIA_URL = "{full}".',
    ),
    "W011": Check(
        "{url} has django.views.static.serve in the URLconf, too, at {route}.",
        "Remove it: MediaMiddleware serves the files with DEBUG on, too, and the access of a "
        "location says who may see them.",
    ),
    "W012": Check(
        "MEDIA_ROOT is WHITENOISE_ROOT or lies in it ({whitenoise}): WhiteNoise looks at each "
        "upload at start, and serves it as a file of the site's own.",
        "Give WHITENOISE_ROOT a folder of its own.",
    ),
    "W013": Check(
        "{root} is guarded (access={access}), but {public} makes the same files public.",
        "Give the guarded files a folder of their own; it may lie in a public location's.",
    ),
    "W014": Check(
        "{setting} is {mode}: not even the user who saved an upload can open it, and clients get "
        "a 403.",
        "Set {setting} = {usual}, an octal number.",
    ),
    "W015": Check(
        "Uploads go to {folder} (the default storage), which is in no location.",
        'Give MediaMiddleware a Location.storage("default"), or the storage another location.',
    ),
    "W016": Check(
        "STORAGES[{alias}] signs its links, but {url} makes its files public.",
        "Give MediaMiddleware a Location.storage({alias}): it asks for the signature.",
    ),
    "W017": Check(
        "{root} does not exist.",
        "Create or mount it. The first upload would create it too.",
        deploy=True,
    ),
    "W018": Check(
        "{root} can be written by every user of this machine (mode {mode}), so that each can put "
        "files on the site. A sticky bit only keeps them from replacing those of others.",
        "chmod o-w {folder}",
        deploy=True,
    ),
    "W019": Check(
        "WhiteNoise looks for new files at each request, because {setting} is on: it is slow, and "
        "not meant to be safe.",
        "Set DEBUG = False, and leave WHITENOISE_AUTOREFRESH out.",
        deploy=True,
    ),
    "W020": Check(
        "FILE_UPLOAD_PERMISSIONS is None: uploads over {size} bytes are saved with mode 0600, and "
        "are the only ones that no other user (a worker, a backup) can read.",
        "Leave it out (0o644), or set the mode that all uploads are to have.",
        deploy=True,
    ),
}

LEVELS = {"E": Error, "W": Warning}


def message(key: str, **names: object) -> CheckMessage:
    check = CHECKS[key]
    return LEVELS[key[0]](
        check.sentence.format(**names), hint=check.cure.format(**names), id=f"media_asgi.{key}"
    )
