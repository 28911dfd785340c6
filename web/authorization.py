"""The token in an `Authorization` header."""

SCHEMES = {"bearer", "token"}  # RFC 6750's, and the one that the API had first


def token_in(header: str) -> str | None:
    """Read what stands behind the scheme; None with another scheme than a token's."""
    scheme, _, token = header.partition(" ")
    return token.strip(" ") if scheme.lower() in SCHEMES else None
