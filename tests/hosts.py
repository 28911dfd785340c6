"""Separate hosts for tests: a data directory, a database, and the operator's commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

USE_THE_SITE = """
from django.contrib.auth.models import User
from hdr_site.schedule import ensure_schedule
from recognizer import registry
from tests.labels import labelled
registry.ensure_bundled()
ensure_schedule()
labelled("ann", 3)
labelled("bob", None, answered=3, picture=bytes(range(256)))
labelled("ada", 7, session=None, account=User.objects.create_user("ada", password="ruled paper 28"))
"""


class Host:
    """A host with its own data directory."""

    def __init__(self, folder: Path, database: str = "") -> None:
        folder.mkdir()
        self.environment = {**os.environ, "HDR_DATA_DIR": str(folder), "DATABASE_URL": database, "REDIS_URL": ""}
        self.environment |= {"SECRET_KEY": "the same on every host", "ALLOWED_HOSTS": "testserver"}

    def manage(self, *arguments: str, script: str | None = None, works: bool = True) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is works, done.stderr
        return done.stdout if works else done.stderr

    def everything(self) -> list[object]:
        """Return every row of every table, including the bytes of the models."""
        rows: list[object] = json.loads(self.manage("dumpdata", "--verbosity", "0"))
        return rows
