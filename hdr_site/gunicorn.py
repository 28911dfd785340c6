"""The web server's configuration."""

import os

from hdr_site import environment

bind = f"{environment.text('HOST', '127.0.0.1')}:{environment.number('PORT', 8000)}"
workers = environment.number("WEB_CONCURRENCY", min(os.cpu_count() or 1, 4))
worker_class = "gthread"
threads = 4
keepalive = 15  # seconds
graceful_timeout = 10
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a heartbeat on a slow disk would look like a hang
loglevel = "warning"
wsgi_app = "hdr_site.wsgi"
