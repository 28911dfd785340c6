"""What is printed: checks, and which of them failed."""

FAILED: list[str] = []


def check(holds: bool, what: str, seconds: float | None = None) -> None:
    """Print a line, and remember it if the check failed."""
    time_taken = f"{seconds:8.2f} s" if seconds is not None else f"{'':10}"
    print(f"{'ok    ' if holds else 'FAILED'} {time_taken}  {what}", flush=True)
    if not holds:
        FAILED.append(what)
