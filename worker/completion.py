"""From scores to the ledger, off the device thread: complete, fail or release."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from redis.exceptions import RedisError

from rerankq.ledger import calls
from rerankq.ledger.calls import Call
from rerankq.ledger.codec import ShardOutput
from rerankq.ledger.connection import may_pass
from rerankq.ledger.keys import split_entry
from rerankq.ledger.store import Ledger
from rerankq.schema import Problem
from rerankq.status import JobStatus
from worker import vital
from worker.engine.interface import PairFailed, Profile, Unscorable
from worker.holdings import Holdings
from worker.work import Draining, Work

log = logging.getLogger(__name__)

MOST_AT_ONCE = 64
RETRY_S = 0.5
LAST_WORDS_S = 5.0  # a stopping worker's patience with a Redis that is away

SCORING_FAILED = Problem(
    title="Internal Server Error",
    status=500,
    code="scoring_failed",
    detail="the model could not score one of the documents; the worker's log says why",
)


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of the ledger and the entries it ends for this worker."""

    call: Call[Any]
    entries: Sequence[str]


class Completion:
    """One thread writes results, many at a time, and tries until Redis takes them.

    A result is kept while Redis is away, and the room it holds with it, so an outage stops the
    intake instead of losing work.

    Args:
        worker: this worker's id.
        scored: told each work that was scored; must not block.
        after: called when room was given back: whether a public task may have ended by it.
    """

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        profile: Profile,
        worker: str,
        *,
        scored: Callable[[Work], None],
        after: Callable[[bool], None],
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._profile = profile
        self._worker = worker
        self._scored = scored
        self._after = after
        self._steps: SimpleQueue[_Step | None] = SimpleQueue()
        self._thread = vital.thread("completion", self._run)
        self._give_up_at = float("inf")

    def start(self) -> None:
        self._thread.start()

    def put(self, work: Work) -> None:
        """A work has ended, scored or not."""
        if work.error is None:
            output = ShardOutput(
                work.first,
                tuple(work.scores),
                tuple(work.truncated),
                work.tokens,
            )
            model, revision = self._profile.model, self._profile.revision
            self._steps.put(
                _Step(calls.complete(work.entry, output, model, revision), [work.entry])
            )
            self._scored(work)
            log.debug("scored", extra={"entry": work.entry, **work.log_fields})
        elif isinstance(work.error, Draining):
            self.release([work.entry])
        else:
            log.error(
                "scoring failed",
                exc_info=work.error,
                extra={"entry": work.entry, **work.log_fields},
            )
            told = work.error.problem if isinstance(work.error, Unscorable | PairFailed) else None
            self.fail(work.entry, told)

    def fail(self, entry: str, problem: Problem | None) -> None:
        """End the entry's job; without a problem of its own it is an error of ours."""
        job_id, _ = split_entry(entry)
        call = calls.finish(job_id, JobStatus.FAILED, problem or SCORING_FAILED)
        self._steps.put(_Step(call, [entry]))

    def release(self, entries: Sequence[str]) -> None:
        """Hand entries back unscored; those that are no longer ours are left alone."""
        if not entries:
            return
        self._steps.put(_Step(calls.release(self._worker, entries), entries))

    def stop(self) -> None:
        """Returns when everything put so far is in the ledger, or Redis stays away too long."""
        self._give_up_at = time.monotonic() + LAST_WORDS_S
        self._steps.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            steps, last = self._with_others(step)
            ended = self._write(steps)
            for done in steps:
                self._holdings.remove(done.entries)
            self._after(ended)
            if last:
                return

    def _with_others(self, first: _Step) -> tuple[list[_Step], bool]:
        """What else is there already; and whether that is all there will be."""
        steps = [first]
        while len(steps) < MOST_AT_ONCE:
            try:
                step = self._steps.get_nowait()
            except Empty:
                break
            if step is None:
                return steps, True
            steps.append(step)
        return steps, False

    def _write(self, steps: list[_Step]) -> bool:
        """Whether anything came of it but stored scores."""
        while time.monotonic() < self._give_up_at:
            try:
                answers = self._ledger.run_all([step.call for step in steps])
                return any(answer != "stored" for answer in answers)
            except RedisError as error:
                if not may_pass(error):
                    self._write_apart(steps, error)
                    return True
                # A replay of any call is harmless, so all of them are repeated.
                log.warning("results wait for redis", extra={"reason": str(error)})
                time.sleep(RETRY_S)
        log.error("results given up; their leases lapse", extra={"steps": len(steps)})
        return False

    def _write_apart(self, steps: list[_Step], error: RedisError) -> None:
        """One call that Redis will never take must not hold up the others."""
        if len(steps) == 1:
            entries = list(steps[0].entries)
            log.error("redis refused a result", exc_info=error, extra={"entries": entries})
            return
        for step in steps:
            self._write([step])
