"""Everything that has a request in it: pages, API, accounts, review, admin, and what every request passes through."""
