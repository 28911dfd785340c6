"""Labelled digits out of the site and into it: IDX, NPZ, PNG and ndjson strokes. See docs/data.md."""
