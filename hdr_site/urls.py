"""All URLs of the site."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.utils import timezone
from django.views.decorators.http import last_modified
from django.views.generic import RedirectView
from django.views.i18n import JavaScriptCatalog, set_language

from web import accounts, health
from web.admin import data
from web.api import errors
from web.metrics import metrics
from web.pages import about, draw, experiment, mine, shell, teach
from web.review import pages as review
from web.statistics.pages import statistics
from web.versions import pages as versions

_STARTED = timezone.now()
words = last_modified(lambda _: _STARTED)(JavaScriptCatalog.as_view())  # the scripts' texts in the page's language

handler500 = "web.faults.answer_fault"

urlpatterns = [
    path("", draw.draw, name="draw"),
    path("about", about.about, name="about"),
    path("experiment", experiment.experiment, name="experiment"),
    path("teach", teach.teach, name="teach"),
    path("mine", mine.mine, name="mine"),
    path("mine/drawings.json", mine.download, name="mine-download"),
    path("mine/deletion", mine.delete_all, name="mine-deletion"),
    path("mine/<int:pk>/correction", mine.correct, name="mine-correct"),
    path("mine/<int:pk>/deletion", mine.delete, name="mine-delete"),
    path("account", accounts.account, name="account"),
    path("account/", include(accounts.urlpatterns)),
    path("models", versions.timeline, name="versions"),
    path("models/", include("web.versions.urls")),
    path("statistics", statistics, name="statistics"),
    path("review", review.review, name="review"),
    path("review/", include("web.review.urls")),
    path("api/v1/", include("web.api.urls")),
    re_path("^api/", errors.not_found),
    path("language", set_language, name="set_language"),
    path("words.js", words, name="words"),
    path("manifest.webmanifest", shell.manifest, name="manifest"),
    path("sw.js", shell.service_worker),
    path("offline", shell.offline),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("admin/data/", admin.site.admin_view(data.data), name="data"),
    path("admin/data/<str:name>", admin.site.admin_view(data.download), name="data-download"),
    path("admin/login/", accounts.redirect_admin_login),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password")),
    path("admin/", admin.site.urls),
]
