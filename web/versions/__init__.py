"""The public pages about the model's versions: the timeline, each version's own page, and what staff do there."""
