"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

from recognizer import health, pages

urlpatterns = [
    path("", pages.draw, name="draw"),
    path("api/v1/", include("recognizer.api.urls")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
]
