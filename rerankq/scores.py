"""Log-odds, as they are stored and ranked, and probabilities, as they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence


def sigmoid(x: float) -> float:
    """Probability of log-odds: 1 / (1 + e^-x), without overflow at either end."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    e = math.exp(x)
    return e / (1 + e)


def shown(log_odds: float, raw: bool) -> float:
    return log_odds if raw else sigmoid(log_odds)


def best_first(log_odds: Sequence[float], top_n: int | None = None) -> list[int]:
    """Indexes, best first, ties by index.

    By log-odds: probabilities saturate, and would tie what the model told apart.
    """
    return sorted(range(len(log_odds)), key=lambda i: (-log_odds[i], i))[:top_n]
