#!/usr/bin/env python
"""Django's command-line utility for the digit site."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        sys.exit(f"CommandError: The database cannot be used: {' '.join(str(error).split())}")
