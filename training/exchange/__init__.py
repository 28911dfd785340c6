"""Export and import of labelled digits: IDX, NPZ, PNG and ndjson strokes. See docs/data.md."""
