"""The site's addresses, and one view that does nothing, to measure the others against."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from hdr_site.urls import urlpatterns as site


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """The least that a Django view can do, behind the same middleware."""
    return HttpResponse(b"{}", content_type="application/json")


urlpatterns = [path("bare", bare), *site]
