from django.contrib import admin

from .models import Upload


@admin.register(Upload)
class UploadAdmin(admin.ModelAdmin):
    list_display = ("title", "file", "uploaded")
    search_fields = ("title", "file")
    date_hierarchy = "uploaded"
