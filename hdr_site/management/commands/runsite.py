"""`runsite`: run the whole site with one command: web server, workers and scheduler."""

import os
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from hdr_site.server import free_address


class Command(BaseCommand):
    help = "Prepare, then run the web server, Celery workers and beat until Ctrl-C or SIGTERM; restart what ends."

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        free_address(settings.HOST, settings.PORT)
        call_command("prepare", stdout=self.stdout)
        self.stdout.flush()
        os.environ["HDR_DATA_DIR"] = str(settings.DATA_DIR)  # absolute: a relative one would break below
        os.chdir(settings.BASE_DIR)
        os.execv(sys.executable, [sys.executable, "-m", "hdr_site.supervisor", str(began)])  # noqa: S606
