"""What is printed: facts, and which of them should be otherwise."""

FAILED: list[str] = []


def fact(holds: bool, what: str, seconds: float | None = None) -> None:
    """Print a line, and remember it if it should be otherwise."""
    time_taken = f"{seconds:8.2f} s" if seconds is not None else f"{'':10}"
    print(f"{'ok    ' if holds else 'FAILED'} {time_taken}  {what}", flush=True)
    if not holds:
        FAILED.append(what)
