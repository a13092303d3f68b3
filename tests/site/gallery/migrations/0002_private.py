from django.conf import settings
from django.db import migrations, models

import gallery.models

COLUMNS = (
    (
        "id",
        models.BigAutoField(
            auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
        ),
    ),
    (
        "title",
        models.CharField(blank=True, help_text="if empty, the file's name", max_length=200),
    ),
    ("uploaded", models.DateTimeField(auto_now_add=True)),
)


class Migration(migrations.Migration):
    dependencies = (
        ("gallery", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    )
    operations = (
        migrations.CreateModel(
            name="Document",
            fields=[
                *COLUMNS,
                (
                    "file",
                    models.FileField(
                        max_length=255, storage=gallery.models.protected, upload_to="uploads/"
                    ),
                ),
                ("owner", models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)),
            ],
            options={"ordering": ("-uploaded", "-pk"), "abstract": False},
        ),
        migrations.CreateModel(
            name="Shared",
            fields=[
                *COLUMNS,
                (
                    "file",
                    models.FileField(
                        max_length=255, storage=gallery.models.shared, upload_to="uploads/"
                    ),
                ),
            ],
            options={
                "ordering": ("-uploaded", "-pk"),
                "verbose_name_plural": "shared files",
                "abstract": False,
            },
        ),
    )
