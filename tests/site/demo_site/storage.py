"""The storage of public files in a bucket, whose links lead to this site."""

from storages.backends.s3 import S3Storage

from media_asgi.storage import ServedStorage


class Media(ServedStorage, S3Storage):
    pass
