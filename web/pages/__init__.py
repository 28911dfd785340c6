"""The pages for everybody, a module each."""
