"""How a benchmark states what it measured."""

import statistics


def spread(values: list[float], form: str) -> str:
    """Median and range, each formatted by `form`: `3.6 (3.4 to 4.0)`."""
    middle = format(statistics.median(values), form)
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"
