"""The statistics page: what is drawn, how often people confirm the answer, and whether the drawings drift."""
