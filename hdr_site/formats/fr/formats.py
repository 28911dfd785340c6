"""What CLDR has otherwise than Django: thousands stand apart by a narrow space that does not break."""

THOUSAND_SEPARATOR = "\u202f"
