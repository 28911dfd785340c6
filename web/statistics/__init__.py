"""The statistics' page: what is drawn, how often people say it was read right, and whether that is changing."""
