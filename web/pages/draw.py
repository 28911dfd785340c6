"""The home page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from web.visitors import remember_session


@require_safe
def draw(request: HttpRequest) -> HttpResponse:
    """Show the page where people draw a digit and correct what was read."""
    response = render(request, "draw.html")
    remember_session(request, response)
    return response
