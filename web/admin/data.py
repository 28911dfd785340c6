"""The admin's data page: four downloads and an upload, for staff."""

from tempfile import TemporaryFile
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.timezone import now
from django.views.decorators.http import require_GET, require_http_methods

from recognizer.engine import ModelRefusedError
from recognizer.models import Correction
from training.exchange.examples import LIMITS, ExchangeError
from training.exchange.formats import FORMATS
from training.exchange.incoming import import_dataset
from training.exchange.outgoing import export_dataset


class ImportForm(forms.Form):
    """Ask for a file with labelled digits; its format is detected."""

    file = forms.FileField()


@require_http_methods(["GET", "POST"])
def data(request: HttpRequest) -> HttpResponse:
    """Show the page, or import an uploaded file."""
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if form.is_valid() and _import(request, form):
        return redirect("data")
    return render(request, "admin/data.html", _context(request, form))


@require_GET
def download(request: HttpRequest, name: str) -> FileResponse | HttpResponse:
    """Export all accepted drawings in one format, through a temporary file rather than memory."""
    form = FORMATS.get(name)
    if form is None:
        raise Http404
    file = TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        export_dataset(form, file)
    except (ExchangeError, OSError) as error:  # OSError: for example no space left
        file.close()
        messages.error(request, str(error))
        return redirect("data")
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=f"digits-{now():%Y-%m-%d}-{form.name}.{form.suffix}")


def _import(request: HttpRequest, form: ImportForm) -> bool:
    try:
        done = import_dataset(form.cleaned_data["file"].file, by=request.user, rows=LIMITS.uploaded_rows)
    except (ExchangeError, ModelRefusedError) as error:
        form.add_error("file", f"{error} Nothing was stored.")
        return False
    messages.success(request, f"Stored {done.tally}, owner {done.owner}; {done.tally.left_out:,} were already stored.")
    return True


def _context(request: HttpRequest, form: ImportForm) -> dict[str, Any]:
    accepted = Correction.objects.standing().filter(state=Correction.State.ACCEPTED)
    return admin.site.each_context(request) | {
        "title": "Data",
        "form": form,
        "formats": FORMATS.values(),
        "accepted": f"{accepted.count():,}",
        "rows": f"{LIMITS.uploaded_rows:,}",
        "bytes": settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
    }
