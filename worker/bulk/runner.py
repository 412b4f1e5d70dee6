"""Runs what this worker takes of batches: each entry on a thread of its own, a few at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.records import BadInput
from rerankq.bulk.spec import BatchSpec
from rerankq.bulk.unpacking import unpacked
from rerankq.ledger import batches, calls
from rerankq.ledger.calls import Call, Taken
from rerankq.ledger.connection import may_pass
from rerankq.ledger.keys import GIVEN_UP
from rerankq.ledger.store import Ledger
from rerankq.schema import Problem
from rerankq.status import JobStatus
from worker.bulk import merging, planning, scoring
from worker.bulk.flow import Abandoned, Flow
from worker.coalescer import Coalescer
from worker.encoder import Encoder
from worker.engine.interface import Profile
from worker.holdings import Holdings

log = logging.getLogger(__name__)

SLOTS = 2  # one is read while the other's last pairs are scored
WINDOW_BUDGETS = 3  # tokens of one chunk with the coalescer, in batches of the device
RETRIES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # pauses after a storage that fails
REDIS_RETRY_S = 0.5
PLAN, MERGE = b"plan", b"merge"


class Runner:
    """Args:
    worker: this worker's id.
    scored_by: names the model and all its limits, so that no other's part is taken for its own.
    now_ms: Redis's clock, by which the coalescer serves bulk work.
    after: called when a slot is free again.
    """

    def __init__(
        self,
        ledger: Ledger,
        encoder: Encoder,
        coalescer: Coalescer,
        holdings: Holdings,
        profile: Profile,
        *,
        worker: str,
        scored_by: str,
        now_ms: Callable[[], float],
        after: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._encoder = encoder
        self._coalescer = coalescer
        self._holdings = holdings
        self._profile = profile
        self._worker = worker
        self._scored_by = scored_by
        self._now_ms = now_ms
        self._after = after
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(SLOTS, "chunk")

    @property
    def free(self) -> int:
        """Entries that may be taken."""
        with self._lock:
            return 0 if self._stopping.is_set() else SLOTS - len(self._running)

    def begin(self, item: Taken) -> None:
        with self._lock:
            if item.entry in self._running:
                # It lapsed while this process slept, as its thread will find. Not held, it lapses
                # once more.
                return
            self._running.add(item.entry)
        # What it takes of the room is one batch's worth: the rest of it is still in its file. Plans
        # and merges take none, so that a suspect need not wait for them to run alone.
        room = 0 if item.input in (PLAN, MERGE) else self._profile.token_budget
        self._holdings.add(item.entry, room)
        self._threads.submit(self._run, item)

    def stop(self) -> None:
        """Begin nothing more; what runs ends at its next step, unfinished. Does not wait for it: a
        storage that hangs must not hold up a drain, and a part that comes late does no harm."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, item: Taken) -> None:
        try:
            self._try_again_and_again(item)
        except Abandoned:
            if self._holdings.holds(item.entry):
                self._write(calls.release(self._worker, [item.entry]), last_words=True)
        finally:
            with self._lock:
                self._running.discard(item.entry)
            self._holdings.remove([item.entry])
            self._after()

    def _try_again_and_again(self, item: Taken) -> None:
        """Through a storage that fails for a while.

        Raises: Abandoned.
        """
        for pause in (*RETRIES_S, None):
            try:
                self._once(item)
                return
            except Abandoned:
                raise
            except RedisError as error:
                log.warning("a part waits for redis", extra={"reason": tls.reason(error)})
                self._stopping.wait(REDIS_RETRY_S)  # or it would be taken again at once
                raise Abandoned from error
            except BadInput as error:
                self._fail(item, error.code, str(error), status=422)
                return
            except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
                self._fail(item, "storage_failed", str(error), status=500)
                return
            except OSError as error:
                fields = {"entry": item.entry, "reason": str(error)}
                log.warning("storage failed", extra=fields)
                if pause is None:
                    self._fail(item, "storage_failed", str(error), status=500)
                    return
                if self._stopping.wait(pause) or not self._ours(item.entry):
                    raise Abandoned from error
            except Exception:
                log.exception("chunk failed", extra={"entry": item.entry})
                detail = "a part of the batch met an error of ours; the worker's log has it"
                self._fail(item, "internal", detail, status=500)
                return

    def _once(self, item: Taken) -> None:
        spec = unpacked(BatchSpec.model_validate_json(item.context).at_home())
        if item.input == MERGE:
            self._merge(item, spec)
        elif item.input == PLAN:
            rate = self._coalescer.device.rate.tokens_per_s
            planning.plan(self._ledger, item.entry, spec, rate)
        else:
            self._score(item, spec)

    def _score(self, item: Taken, spec: BatchSpec) -> None:
        given = (item.input or b"").decode()
        chunk = Chunk.decode(given.removeprefix(GIVEN_UP))
        name = scoring.part_name(spec, chunk, self._scored_by)
        watch = partial(self._holdings.tokenizing, item.entry)
        done, lost = scoring.finished(spec, name), dict[str, int]()
        if done is None and given.startswith(GIVEN_UP):
            done, lost = scoring.score(spec, chunk, name, scoring.GivenUp(), watch)
            fields = {"entry": item.entry, "lines": done.records}
            log.error("a chunk was given up", extra=fields)
        elif done is None:
            flow = self._flow(item, spec, watch)
            try:
                done, lost = scoring.score(spec, chunk, name, flow, watch)
            finally:
                flow.abandon()
        call = batches.part(
            item.entry,
            done,
            max_errors=spec.max_errors,
            model=self._profile.model,
            revision=self._profile.revision,
            lost=lost,
        )
        self._write(call)
        log.debug("part written", extra={"entry": item.entry, "pairs": done.pairs})

    def _flow(self, item: Taken, spec: BatchSpec, watch: scoring.Watch) -> Flow:
        return Flow(
            self._encoder,
            self._coalescer,
            self._profile,
            entry=item.entry,
            batch_id=item.job_id,
            order=self._now_ms(),
            window=WINDOW_BUDGETS * self._profile.token_budget,
            instruction=spec.instruction,
            ours=lambda: self._ours(item.entry),
            watch=watch,
            scored=self._encoder.keep,
        )

    def _merge(self, item: Taken, spec: BatchSpec) -> None:
        started = time.monotonic()
        parts = [part for _, part in self._ledger.parts(item.job_id)]
        record = self._ledger.batch(item.job_id)
        stopped = record is None or record.stopped
        errors = merging.merge(spec, parts, stopped=stopped)
        output = not stopped or any(part.pairs for part in parts)
        self._write(batches.merged(item.entry, output=output, errors=errors))
        record = self._ledger.batch(item.job_id)
        if record is not None and record.phase == "completed":
            _clean_up(spec)
        seconds = round(time.monotonic() - started, 3)
        log.info("batch merged", extra={"batch": item.job_id, "parts": len(parts), "s": seconds})

    def _fail(self, item: Taken, code: str, detail: str, *, status: int) -> None:
        title = "Unprocessable Entity" if status == 422 else "Internal Server Error"
        problem = Problem(title=title, status=status, code=code, detail=detail[:2_000])
        # A merge that fails cannot be followed by another.
        at_once = item.input == MERGE
        call = batches.stop(item.job_id, JobStatus.FAILED, problem, at_once=at_once)
        self._write(call)
        log.error(
            "a file's batch failed", extra={"batch": item.job_id, "code": code, "reason": detail}
        )

    def _ours(self, entry: str) -> bool:
        return not self._stopping.is_set() and self._holdings.holds(entry)

    def _write(self, call: Call[Any], *, last_words: bool = False) -> None:
        """Into the ledger, however long that is away: a replay is harmless.

        Raises: Abandoned: the worker stops meanwhile.
        """
        while True:
            try:
                self._ledger.run(call)
                return
            except RedisError as error:
                log.warning("a part waits for redis", extra={"reason": tls.reason(error)})
                passing = may_pass(error) and not last_words
                if self._stopping.wait(REDIS_RETRY_S) or not passing:
                    raise Abandoned from error


def _clean_up(spec: BatchSpec) -> None:
    try:
        merging.clean_up(spec)
    except OSError as error:  # the batch is complete all the same
        log.warning("parts left behind", extra={"reason": str(error)})
