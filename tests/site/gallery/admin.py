from django.contrib import admin

from .models import Document, Shared, Upload


@admin.register(Upload, Shared)
class UploadAdmin(admin.ModelAdmin):
    list_display = ("title", "file", "uploaded")
    search_fields = ("title", "file")
    date_hierarchy = "uploaded"


@admin.register(Document)
class DocumentAdmin(UploadAdmin):
    list_display = ("title", "owner", "file", "uploaded")
    list_filter = ("owner",)
