"""The site's URLs, and two views to compare its own with."""

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from hdr_site.urls import urlpatterns as site
from recognizer import submissions
from recognizer.parsing import parse_drawing
from web.api.presentation import preview_json


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """Do the least that a Django view can do, behind the same middleware."""
    return HttpResponse(b"{}", content_type="application/json")


@csrf_exempt
def work(request: HttpRequest) -> HttpResponse:
    """Do a preview's work and nothing else: no authentication, no throttle, no content negotiation."""
    drawing = parse_drawing(orjson.loads(request.body))
    answer = preview_json(submissions.read(drawing), drawing.input)
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


urlpatterns = [path("bare", bare), path("work", work), *site]
