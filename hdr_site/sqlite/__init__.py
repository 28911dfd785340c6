"""Django's SQLite backend, that notices when its file was removed or replaced."""
