"""Parsing of the `Authorization` header."""

SCHEMES = {"bearer", "token"}  # RFC 6750, and the API's original scheme


def token_in(header: str) -> str | None:
    """Return the token after the scheme; None for any other scheme."""
    scheme, _, token = header.partition(" ")
    return token.strip(" ") if scheme.lower() in SCHEMES else None
