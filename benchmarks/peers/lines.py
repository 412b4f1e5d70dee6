"""Requests and answers as lines of JSON, over a process's standard streams.

Standard library only: contenders import it in their own environments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer each line of stdin with a line of stdout, until stdin ends."""
    # Whatever a library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


def timed(score: Callable[[], list[float]]) -> dict[str, Any]:
    """How a contender answers: seconds from texts to probabilities, and these."""
    started = time.perf_counter()
    scores = score()
    return {"seconds": time.perf_counter() - started, "scores": scores}
