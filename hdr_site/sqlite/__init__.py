"""Django's SQLite backend, which detects that its file was removed or replaced."""
