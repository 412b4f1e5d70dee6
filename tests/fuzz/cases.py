"""What is sent: the boundaries of every field, then random data that fits or breaks the document.

Each case is adapted before it goes out: nobody waits for long, and some ask for what is there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode

LONGEST_WAIT_S = 1.0
PER_ROUND = 100  # cases of one call and mode that are made together
_WAIT = re.compile(r"wait\s*=", re.IGNORECASE)

Source = tuple[APIOperation, GenerationMode]


def boundaries(schema: BaseSchema) -> list[Case]:
    """One case for each limit, type and method that the document names, and one beyond each."""
    generation = schema.config.generation
    return [
        case
        for operation in _operations(schema)
        for case in schema.iter_coverage_cases(
            operation, generation_modes=list(GenerationMode), generation_config=generation
        )
    ]


def rounds(schema: BaseSchema, chance: random.Random, size: int) -> Iterator[list[Case]]:
    """Endless rounds of random cases of all calls, mixed; `size` is about that of a round."""
    sources: list[Source] = [(o, mode) for o in _operations(schema) for mode in GenerationMode]
    each = max(1, min(PER_ROUND, size // len(sources)))
    while sources:
        batch: list[Case] = []
        for source in tuple(sources):
            try:
                batch += _random(source, each, chance.getrandbits(32))
            except Unsatisfiable:  # a call without input has nothing that could be wrong
                sources.remove(source)
        chance.shuffle(batch)
        yield batch


def _operations(schema: BaseSchema) -> list[APIOperation]:
    return [found.ok() for found in schema.get_all_operations()]


def _random(source: Source, number: int, chosen: int) -> list[Case]:
    operation, mode = source
    made: list[Case] = []

    @seed(chosen)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        made.append(case)

    collect()
    return made


class Adaptation:
    """Bounds every wait, and lets a part of the cases reach what no random text could name.

    Args:
        job_ids: grows while the cases are sent.
    """

    def __init__(self, chance: random.Random, job_ids: list[str]) -> None:
        self._chance = chance
        self._job_ids = job_ids

    def adapt(self, case: Case) -> None:
        if "wait" in case.query:
            case.query = case.query | {"wait": _bounded(case.query["wait"])}
        if _WAIT.search(str(case.headers.get("prefer", ""))):
            case.headers["prefer"] = f"wait={LONGEST_WAIT_S:g}"
        if case.path.endswith("/pause") and case.path_parameters.get("lane") == "interactive":
            case.path_parameters = {"lane": "bulk"}  # or no other case would see a ranking
        if case.path.endswith("/purge") and self._chance.random() < 0.3:
            case.query = case.query | {"confirm": case.path_parameters.get("lane")}
        if "job_id" in case.path_parameters and self._job_ids and self._chance.random() < 0.5:
            case.path_parameters = {"job_id": self._chance.choice(self._job_ids)}
        if case.path == "/v1/jobs" and isinstance(case.body, dict) and _fits(case):
            self._let_in(case)

    def _let_in(self, case: Case) -> None:
        """Most valid jobs would be refused: webhooks are off, and short keys are soon used up."""
        if self._chance.random() < 0.8:
            case.body = {k: v for k, v in case.body.items() if k != "webhook_url"}
        if self._chance.random() < 0.8:
            case.headers.pop("idempotency-key", None)
        if self._chance.random() < 0.5:
            case.headers["prefer"] = f"wait={LONGEST_WAIT_S:g}"


def _fits(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _bounded(wait: Any) -> Any:
    """What is refused anyway (no number, below 0, above the API's own limit) stays as it is."""
    if isinstance(wait, list):
        return [_bounded(part) for part in wait]
    try:
        return LONGEST_WAIT_S if LONGEST_WAIT_S < float(wait) <= 60 else wait
    except (TypeError, ValueError):
        return wait
