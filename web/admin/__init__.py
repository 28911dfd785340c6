"""Django's admin: one module per app's tables, and the page for imports and exports."""

from web.admin import recognizer, training

__all__ = ["recognizer", "training"]
