"""Django's admin: a module for each app's tables, and the page that takes data in and out."""

from web.admin import recognizer, training

__all__ = ["recognizer", "training"]
