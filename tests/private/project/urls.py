from django.urls import path

from . import views

urlpatterns = [
    path("sync/answer/", views.answer),
    path("async/answer/", views.answer_later),
    path("sync/sendfile/", views.sent),
    path("async/sendfile/", views.sent_later),
    path("downloadview/nginx/", views.download_by_nginx),
    path("downloadview/apache/", views.download_by_apache),
    path("downloadview/later/", views.download_later),
    path("downloadview/stored/", views.StoredDownload.as_view()),
    path("stream/", views.stream),
    path("allow/", views.allow),
    path("own/", views.own),
    path("own/file/", views.own_file),
    path("log-in/", views.enter, name="log-in"),
    path("log-out/", views.leave),
    path("reports/", views.reports, name="reports"),
    path("reports/add/", views.add_report),
    path("sign/", views.sign),
]
