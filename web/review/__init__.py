"""The review: what waits for a person's decision, handed out to reviewers card by card."""
