"""Model quality: how well the model reads, what it misreads, how true its explanations are, and how it learns.

Django is set up here, so that these modules can import the product at the top.
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()
