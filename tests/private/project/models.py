from django.core.files.storage import Storage, storages
from django.db import models


def signed() -> Storage:
    return storages["signed"]


class Report(models.Model):
    file = models.FileField(storage=signed, upload_to="reports/", max_length=255)
