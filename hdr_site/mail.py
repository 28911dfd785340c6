"""Mail settings, parsed from `EMAIL_URL`."""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

PORTS = {"smtp": 587, "smtps": 465}
MALFORMED_URL = "EMAIL_URL must be like smtp://user:password@host:587/?from=digits@example.org, or smtps://…"


@dataclass(frozen=True, slots=True)
class Mail:
    """Values for Django's mail settings; by default mail is printed to the console."""

    sender: str
    backend: str = "django.core.mail.backends.console.EmailBackend"
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    ssl: bool = False  # TLS from the first byte
    starttls: bool = False


def parse_mail_url(url: str, sender: str) -> Mail:
    """Parse `EMAIL_URL`. `smtp` with a user uses STARTTLS; without a user it is a relay without TLS or login.

    Args:
        url: the variable's value; empty if unset.
        sender: sender address unless the URL has `from`.

    Raises:
        SystemExit: the URL is malformed.
    """
    if not url:
        return Mail(sender)
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (KeyError, ValueError) as error:
        raise SystemExit(MALFORMED_URL) from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise SystemExit(MALFORMED_URL)
    return Mail(
        sender=parse_qs(parts.query).get("from", [sender])[0],
        backend="django.core.mail.backends.smtp.EmailBackend",
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        ssl=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp" and bool(parts.username),
    )
