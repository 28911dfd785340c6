"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path, re_path

from recognizer import health, pages
from recognizer.api import errors

urlpatterns = [
    path("", pages.draw, name="draw"),
    path("api/v1/", include("recognizer.api.urls")),
    re_path("^api/", errors.not_found),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
]
