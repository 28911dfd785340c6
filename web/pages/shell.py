"""The site as an installable web application: its manifest, service worker and offline page."""

import hashlib
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.templatetags.static import static
from django.utils.translation import get_language, get_language_bidi, gettext
from django.views.decorators.http import require_safe

STATIC = settings.BASE_DIR / "static"
ICONS = (("img/icon-192.png", 192), ("img/icon-512.png", 512))


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    """Return the web application manifest (W3C, Web Application Manifest)."""
    icons = [
        {"src": static(name), "sizes": f"{side}x{side}", "type": "image/png", "purpose": purpose}
        for name, side in ICONS
        for purpose in ("any", "maskable")
    ]
    return JsonResponse(
        {
            "name": gettext("Handwritten Digit Recognition"),
            "short_name": gettext("Digits"),
            "lang": get_language(),
            "dir": "rtl" if get_language_bidi() else "ltr",
            "id": "/",
            "start_url": "/",
            "display": "standalone",
            "background_color": "#eceff1",
            "theme_color": "#eceff1",
            "icons": icons,
        },
        content_type="application/manifest+json",
    )


@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """Return the service worker with the list of files it caches; a changed list makes a new worker."""
    files = [static(str(file.relative_to(STATIC))) for file in _shell_files()]
    version = hashlib.sha256("\n".join(files).encode()).hexdigest()[:12]
    response = render(request, "sw.js", {"files": files, "version": version}, content_type="text/javascript")
    response["Cache-Control"] = "no-cache"
    return response


def _shell_files() -> list[Path]:
    scripts = sorted((STATIC / "js").glob("*.js"))
    return [*scripts, STATIC / "css" / "site.css", STATIC / "img" / "favicon.svg"]


@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    """Return the page that is shown without a network. The browser caches it across logins, so it is rendered without
    the request: no user name, no token.
    """
    return HttpResponse(loader.get_template("offline.html").render())
