"""French formats where CLDR differs from Django: thousands are separated by a narrow no-break space."""

THOUSAND_SEPARATOR = "\u202f"
