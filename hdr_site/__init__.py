"""The Django project: settings, URLs, the schedule and the site's processes."""
