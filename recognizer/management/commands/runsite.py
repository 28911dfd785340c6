"""`runsite`: the whole site as one command, web server, workers and scheduler together."""

import shlex
import signal
import sys
import threading
import time
import urllib.request
from typing import Any

import honcho.manager
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

STOP_SECONDS = 30  # for the parts to finish what they do; the worker alone takes four to leave its broker
READY_SECONDS = 60  # after which the readiness watch gives up; the site may still come

STOPPED_BY_US = {128 + signal.SIGINT, 128 + signal.SIGTERM}  # what honcho returns after Ctrl-C or SIGTERM
QUIET = "--without-gossip --without-mingle --loglevel info"
# A fresh process for each training run, which alone loads TensorFlow and takes its memory along when it ends.
TRAINING = "--queues training --pool prefork --concurrency 1 --max-tasks-per-child 1"
PARTS = {
    "web": "hdr_site.server",
    "worker": f"celery --app hdr_site worker --hostname site@%h --queues site --pool threads --concurrency 2 {QUIET}",
    "training": f"celery --app hdr_site worker --hostname training@%h {TRAINING} {QUIET}",
    "beat": "celery --app hdr_site beat --pidfile= --loglevel info",
}


class Command(BaseCommand):
    help = "Prepare, then run web server, Celery workers and beat until Ctrl-C or SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        self._started = time.monotonic()
        call_command("prepare", stdout=self.stdout)
        self.stdout.flush()
        honcho.manager.KILL_WAIT = STOP_SECONDS  # it has no other way to be told
        manager = honcho.manager.Manager()
        for name, module in PARTS.items():
            # `exec`, so that the signal reaches the part itself and not a shell around it.
            manager.add_process(name, f"exec {shlex.quote(sys.executable)} -m {module}", cwd=str(settings.BASE_DIR))
        threading.Thread(target=self._announce, daemon=True).start()
        manager.loop()
        if manager.returncode not in STOPPED_BY_US:
            raise CommandError("A part of the site stopped by itself; its last lines above say why.")

    def _announce(self) -> None:
        """Say so once the site can read digits."""
        host = f"[{settings.HOST}]" if ":" in settings.HOST else settings.HOST
        address = f"http://{host}:{settings.PORT}"
        local = address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")  # these listen everywhere
        while time.monotonic() - self._started < READY_SECONDS:
            try:
                urllib.request.urlopen(f"{local}/readyz", timeout=2)  # noqa: S310 - http, our own address
            except OSError:
                time.sleep(0.05)
            else:
                seconds = time.monotonic() - self._started
                self.stdout.write(f"\nReady in {seconds:.1f} s: {address}/ (Ctrl-C stops it)\n")
                self.stdout.flush()
                return
