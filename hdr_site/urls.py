"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path, re_path

from recognizer import health, pages
from recognizer.api import errors
from training import pages as training_pages
from training.exchange import admin as exchange
from training.versions import pages as versions

urlpatterns = [
    path("", pages.draw, name="draw"),
    path("experiment", training_pages.experiment, name="experiment"),
    path("models", versions.timeline, name="versions"),
    path("models/", include("training.versions.urls")),
    path("api/v1/", include("training.api.urls")),
    path("api/v1/", include("recognizer.api.urls")),  # the last one: it answers unknown addresses
    re_path("^api/", errors.not_found),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/data/", admin.site.admin_view(exchange.data), name="data"),
    path("admin/data/<str:name>", admin.site.admin_view(exchange.download), name="data-download"),
    path("admin/", admin.site.urls),
]
