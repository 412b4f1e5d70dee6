"""A worker of batches for tests: it does by hand what the ledger expects of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis

from rerankq.bulk.chunks import Chunk
from rerankq.ledger import batches
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.batches import ScoredPart
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, entry, name
from rerankq.ledger.store import Ledger
from rerankq.schema import Problem
from rerankq.status import JobStatus
from tests.conftest import eventually

BROKEN = Problem(title="t", status=500, code="input_changed", detail="it is another file now")


@dataclass
class BatchWorker:
    """One ledger, and the batches in it."""

    url: str

    def ids(self) -> list[str]:
        """Newest first."""
        with redis.Redis.from_url(self.url) as client:
            found = client.zrevrange(name(Key.JOBS, batches.listed_as("")), 0, -1)
        return [member.decode() for member in found]  # type: ignore[union-attr]

    def newest(self, *, after: int = 0) -> str:
        """Waits until there are more batches than `after`."""
        eventually(lambda: len(self.ids()) > after)
        return self.ids()[0]

    def batch(self, batch_id: str) -> BatchRecord:
        with connect(self.url) as client:
            found = Ledger(client).batch(batch_id)
        assert found is not None
        return found

    def plan(self, batch_id: str, chunks: int) -> None:
        cut = [Chunk(k, k + 1, 1) for k in range(chunks)]
        self._run(batches.planned(entry(batch_id, 0), 1, 0, cut, last=True))

    def score(self, batch_id: str, chunk: int, *, pairs: int = 10, bad: int = 0) -> None:
        done = ScoredPart(f"part-{chunk}", 5, pairs, 100, 1, 5, bad)
        spec = self.batch(batch_id).spec
        call = batches.part(
            entry(batch_id, chunk), done, max_errors=spec.max_errors, model="m", revision="r"
        )
        self._run(call)

    def merge(self, batch_id: str) -> None:
        """Write the output, and the bad lines if there are any; the batch is completed."""
        batch = self.batch(batch_id)
        Path(batch.spec.output).write_text(f"by {batch_id}\n")
        if batch.bad:
            Path(batch.spec.errors).write_text("bad\n")
        self._run(batches.merged(entry(batch_id, batch.chunks + 1), errors=batch.bad > 0))

    def whole(self, batch_id: str, *, bad: int = 0) -> None:
        self.plan(batch_id, 1)
        self.score(batch_id, 1, bad=bad)
        self.merge(batch_id)

    def fail(self, batch_id: str) -> None:
        self._run(batches.stop(batch_id, JobStatus.FAILED, BROKEN, at_once=True))

    def _run(self, call: object) -> None:
        with connect(self.url) as client:
            Ledger(client).run(call)  # type: ignore[arg-type]
