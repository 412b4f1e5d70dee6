"""From the ledger to the coalescer: take what there is room for, tokenize, submit."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.errors import DecodeError
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder, Take, Taken
from rerankq.ledger.codec import JobContext, ShardInput
from rerankq.ledger.store import Ledger
from rerankq.schema import Problem
from worker import metrics, traces, vital
from worker.bulk.runner import Runner
from worker.coalescer import Coalescer
from worker.completion import Completion
from worker.encoder import Encoder
from worker.engine.interface import Unscorable
from worker.holdings import Holdings
from worker.room import Closed, Room
from worker.turns import Turns
from worker.work import Draining, Work

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0  # without a bell; a lost one costs no more than this
MOST_TAKEN = 64
TOKENIZER_THREADS = 2
UNREADABLE = Problem(
    title="Internal Server Error",
    status=500,
    code="unreadable",
    detail="a part of the job cannot be read back from the queue; submit it again",
)


class Intake:
    """The only one that takes from the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        encoder: Encoder,
        coalescer: Coalescer,
        completion: Completion,
        holdings: Holdings,
        room: Room,
        holder: Holder,
        chunks: Runner,
    ) -> None:
        self._ledger = ledger
        self._encoder = encoder
        self._coalescer = coalescer
        self._completion = completion
        self._holdings = holdings
        self._room = room
        self._holder = holder
        self._chunks = chunks
        self._turns = Turns(room.reserve)
        self._rung = threading.Event()
        self._looked = threading.Event()
        self._taken = False
        self.left = True  # the last look left something; what comes while there is no room counts
        self._stopping = False
        self._tokenizers = ThreadPoolExecutor(TOKENIZER_THREADS, "tokenizer")
        self._thread = vital.thread("intake", self._run)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        """Look into the ledger soon."""
        self._rung.set()

    def look(self) -> bool:
        """Look into the ledger now; false if that found work and could not take any."""
        self._looked.clear()
        self._rung.set()
        self._looked.wait(LOOK_EVERY_S)
        return self._taken or not self.left

    def look_again(self) -> None:
        """There is room again; look into the ledger if the last look left something there."""
        if self.left:
            self._rung.set()

    def stop(self) -> None:
        """Take nothing more; returns when nothing is being tokenized any more.

        What was taken and not tokenized stays among the holdings, for the drain to hand back.
        """
        self._stopping = True
        self._rung.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._tokenizers.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping:
            self._rung.wait(LOOK_EVERY_S)
            self._rung.clear()
            try:
                self._take_all()
            except RedisError as error:
                log.warning("nothing taken", extra={"reason": tls.reason(error)})
                time.sleep(LOOK_EVERY_S)
                self._rung.set()
            self._looked.set()

    def _take_all(self) -> None:
        self.left, self._taken = True, False
        while not self._stopping and self._room.free > 0:
            answer = self._take()
            self._taken = self._taken or bool(answer.entries)
            # One call takes all that fits, unless it is cut off, or bulk's turn has come by it.
            cut_off = sum(not item.chunk for item in answer.entries) == MOST_TAKEN
            if not (cut_off or (answer.entries and answer.bulk_waits and self._turns.bulk)):
                self.left = answer.left or self._room.free <= 0
                return

    def _take(self) -> Take:
        room, idle = self._room.free, self._room.idle
        # What is taken alone by a worker that does nothing is launched next, and at once.
        mark = self._room.empty and self._coalescer.device.current is None
        now = time.monotonic()
        answer = self._ledger.run(
            calls.take(
                self._holder,
                most=MOST_TAKEN,
                room=room,
                bulk_room=room - self._room.reserve,
                bulk_turn=self._turns.bulk,
                idle=idle,
                mark=mark,
                chunks=self._chunks.free,
            )
        )
        marked = now if mark and len(answer.entries) == 1 else 0.0
        for item in answer.entries:
            if not item.chunk:
                self._turns.count(item.lane, item.tokens, answer.bulk_waits)
            self._begin(item, marked)
        if answer.called:
            self._run_suspect()
        return answer

    def _begin(self, item: Taken, marked: float = 0.0) -> None:
        if item.chunk:
            self._chunks.begin(item)
        elif self._holdings.add(item.entry, item.tokens):
            self._tokenizers.submit(self._tokenize, item, marked)

    def _run_suspect(self) -> None:
        """Empty this worker and run one entry alone, from tokenizing to score.

        If it takes the process with it, nothing else is lost and there is no doubt who did it.
        """
        with contextlib.suppress(Closed), self._room.emptied():
            for item in self._ledger.run(calls.take_alone(self._holder)).entries:
                log.warning("runs alone", extra={"entry": item.entry})
                self._begin(item)
                self._room.wait_until_empty()

    def _tokenize(self, item: Taken, marked: float) -> None:
        try:
            with self._holdings.tokenizing(item.entry):
                work = self._work(item)
                work.marked = marked
            self._coalescer.submit(work)
        except Draining:
            self._completion.release([item.entry])
        except Unscorable as error:
            self._completion.fail(item.entry, error.problem)
        except DecodeError as error:
            # Records of a later version are not taken at all, so no other worker could read it.
            log.error("unreadable shard", extra={"entry": item.entry, "reason": str(error)})
            self._completion.fail(item.entry, UNREADABLE)
        except Exception:
            log.exception("tokenizing failed", extra={"entry": item.entry})
            self._completion.fail(item.entry, None)

    def _work(self, item: Taken) -> Work:
        started = time.monotonic()
        context = JobContext.decode(item.context)
        shard = ShardInput.decode(item.input or b"")
        encoded = self._encoder.encode(
            context.query, context.instruction, shard.documents, context.document_tokens
        )
        metrics.TOKENIZE.observe(time.monotonic() - started)
        work = Work(
            entry=item.entry,
            job=item.job_id,
            pairs=encoded.pairs,
            known=encoded.known,
            keys=encoded.keys,
            order=item.fair_score,
            done=self._completion.put,
            lane=item.lane,
            waited_s=item.waited_ms / 1000,
            first=shard.first,
            log_fields={"request_id": context.request_id},
            received=started,
        )
        work.traced = traces.taken(item, work)
        self._holdings.attach(item.entry, work)
        return work
