"""The public pages about model versions: the timeline, each version's page, and the staff's actions on them."""
