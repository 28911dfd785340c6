"""The Django project: settings, URLs, schedule, and the processes that the site consists of."""
