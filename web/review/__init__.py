"""The review: pending corrections, handed out to reviewers as cards."""
