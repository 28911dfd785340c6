"""The pages in a real browser, against a live server with the bundled model."""
