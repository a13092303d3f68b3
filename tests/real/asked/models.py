from django.db import models


class Doc(models.Model):
    file = models.CharField(max_length=100)
