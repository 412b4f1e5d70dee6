"""Batches through the HTTP API: local files go up and come down, URLs are passed by reference."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerankq.bulk import storage
from rerankq.bulk.command import service
from rerankq.bulk.command.notes import Notes
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.service import Capacity
from rerankq.bulk.command.state import BatchState, of_object
from rerankq.bulk.unpacking import needs_unpacking
from rerankq.errors import Forbidden, NotFound, UsageError
from rerankq.operator import Operator

_CARRIED = {
    *("input_format", "output_format", "instruction", "top_k", "depth", "tag", "raw_scores"),
    *("return_documents", "partitioned", "max_errors"),
}


class ThroughApi:
    """See `Service`."""

    def __init__(self, client: Operator) -> None:
        self._client = client

    def recent(self) -> Iterator[BatchState]:
        return map(of_object, self._client.batches())

    def check(self, order: Order) -> None:
        spec = order.spec
        if spec.partitioned and storage.local_path(spec.output) is not None:
            raise UsageError("--partitioned: through the API a folder of parts has to be a URL")
        if storage.local_path(spec.errors) is None and spec.errors != f"{spec.output}.errors.jsonl":
            raise UsageError("--errors: through the API this has to be a local file")
        for url in order.inputs().values():
            # An uploaded file has no name that would say so.
            if needs_unpacking(url) and storage.local_path(url) is not None:
                raise UsageError(f"{url}: unpack it first, or put it where the service can read it")

    def start(self, order: Order, key: str, notes: Notes, sent: Callable[[float], None]) -> str:
        fields: dict[str, Any] = order.spec.model_dump(include=_CARRIED, exclude_defaults=True)
        # Its default on this side of the line is another one.
        fields |= {"input_format": order.spec.input_format, "metadata": service.marks(order)}
        for name, url in order.inputs().items():
            path = storage.local_path(url)
            if path is None:
                fields[f"{name}_uri"] = url
            else:
                fields[f"{name}_file_id"] = self._uploaded(path, notes, sent)
        if storage.local_path(order.spec.output) is None:
            fields["output_uri"] = order.spec.output
        if order.model is not None:
            fields["model"] = order.model
        fields["completion_window"] = f"{math.ceil(order.expires_in / 60)}m"
        return self._client.create_batch(idempotency_key=key, **fields).id

    def _uploaded(self, path: Path, notes: Notes, sent: Callable[[float], None]) -> str:
        stat = storage.stat(str(path))
        key = f"{path} {stat.version}"
        known = notes.file(key)
        if known is not None and self._is_there(known):
            return known
        size = max(1, stat.size)
        file = self._client.upload_file(path, told=lambda read: sent(read / size))
        notes.note_file(key, file.id)
        return file.id

    def _is_there(self, file_id: str) -> bool:
        try:
            self._client.file(file_id)
        except NotFound:
            return False
        return True

    def state(self, batch_id: str) -> BatchState:
        return of_object(self._client.batch(batch_id))

    @contextmanager
    def listening(self, batch_id: str) -> Iterator[Callable[[float], bool]]:
        def wait(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield wait

    def cancel(self, batch_id: str) -> BatchState:
        return of_object(self._client.cancel_batch(batch_id))

    def holds_output(self, state: BatchState) -> bool:
        try:
            return self._client.batch(state.id).output_file_id is not None
        except NotFound:
            return False

    def fetch(self, state: BatchState, order: Order) -> BatchState:
        batch = self._client.batch(state.id)
        output, errors = state.output, state.errors
        local = storage.local_path(order.spec.output) is not None
        if local and batch.output_file_id is not None and state.phase == "completed":
            self._client.download_file(batch.output_file_id, order.spec.output)
            output = order.spec.output
        if storage.local_path(order.spec.errors) is not None and batch.error_file_id is not None:
            self._client.download_file(batch.error_file_id, order.spec.errors)
            errors = order.spec.errors
        return replace(state, output=output, errors=errors)

    def capacity(self, model: str | None) -> Capacity:
        served = [one for one in self._client.models() if model in (None, one.id)][:1]
        if not served:
            return Capacity(0, None, None)
        try:
            workers = [one for one in self._client.workers() if one.model == served[0].id]
            rate = sum(one.tokens_per_s for one in workers)
        except Forbidden:
            # Not everybody sees the workers, but the queue says how long its tokens take.
            queue = self._client.queue(model)
            rate = queue.backlog_tokens / queue.drain_s if queue.drain_s else 0.0
        return Capacity(served[0].workers, rate or None, served[0].max_length)


def is_meant(url: str | None) -> bool:
    """Whether the API is to be asked, of both ways: it is unless only Redis is named."""
    named = url or os.environ.get("RERANKQ_URL")
    return bool(named) or not os.environ.get("RERANKQ_REDIS_URL")
