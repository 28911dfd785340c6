"""The schedule in Django's admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from hdr_site.schedule import NAMES

admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class ScheduleAdmin(PeriodicTaskAdmin):
    """Admin of the schedule. The site's own entries can be changed or disabled, but not deleted: `prepare` would add
    them again at the next start.
    """

    change_form_template = "admin/change_form.html"  # the package's has an inline script, which the CSP forbids

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fields: tuple[str, ...] = tuple(super().get_readonly_fields(request, obj))
        return (*fields, "name") if obj and obj.name in NAMES else fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not (obj and obj.name in NAMES) and bool(super().has_delete_permission(request, obj))
