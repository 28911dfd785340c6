"""The HTTP API of the training, under `/api/v1/` beside the recogniser's."""
