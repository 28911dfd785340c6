"""Everything that handles HTTP requests: pages, API, accounts, review, admin and middleware."""
