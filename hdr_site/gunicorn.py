"""The web server's configuration."""

import os

from hdr_site import environment

bind = f"{environment.text('HOST', '127.0.0.1')}:{environment.number('PORT', 8000)}"
workers = environment.number("WEB_CONCURRENCY", min(os.cpu_count() or 1, 4))
worker_class = "gthread"
threads = 4
keepalive = 15  # seconds
graceful_timeout = 10
loglevel = "warning"
wsgi_app = "hdr_site.wsgi"
