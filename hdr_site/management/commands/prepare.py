"""`prepare`: set up the data directory and the database so that the site can start. Safe to repeat."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand

from hdr_site import environment
from hdr_site.schedule import ensure_schedule
from recognizer import registry

IGNORED_STATIC = ["redoc", "rest_framework"]  # files of packages that none of our pages links


class Command(BaseCommand):
    help = (
        "Migrate, collect static files, register the bundled model as version 1, fill the schedule and make the admin."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        self._collect_static()
        if version := registry.ensure_bundled():
            serves = "" if version.state == version.State.ACTIVE else ", not active: what serves was learned here"
            self.stdout.write(f"Registered the bundled model as version {version.version}{serves}.")
        ensure_schedule()
        self._ensure_admin()

    def _collect_static(self) -> None:
        """Hash and compress the static files if any changed. Old files stay, so that running processes find theirs."""
        stamp = settings.STATIC_ROOT / "sources.sha256"
        digest = _static_sources_digest()
        if stamp.is_file() and stamp.read_text() == digest:
            return
        call_command("collectstatic", verbosity=0, interactive=False, ignore_patterns=IGNORED_STATIC)
        stamp.write_text(digest)

    def _ensure_admin(self) -> None:
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True).exists():
            return
        name = environment.text("DJANGO_SUPERUSER_USERNAME", "admin")
        password = environment.text("DJANGO_SUPERUSER_PASSWORD")
        users.create_superuser(username=name, password=password or (generated := secrets.token_urlsafe(12)))
        if password:
            self.stdout.write(f"Made the admin {name!r}.")
        else:
            self.stdout.write(f"Made the admin {name!r} with the password {generated} (shown only now).")


def _static_sources_digest() -> str:
    """Return a digest of every source file's name, size and modification time, without reading the files."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list(IGNORED_STATIC):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
