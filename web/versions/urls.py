"""URLs of the version pages, under `/models/`."""

from django.urls import path

from web.versions import pages

urlpatterns = [
    path("card", pages.card, name="model-card"),
    path("runs", pages.start, name="start-run"),
    path("runs/<int:pk>/cancel", pages.cancel, name="cancel-run"),
    path("<int:version>", pages.version, name="version"),
    path("<int:version>/activate", pages.activate, name="activate-version"),
]
