"""What a batch writes into the service's storage, as files of its owner with an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from api.batch_places import SUFFIXES
from api.files import PARTS, FileStore
from api.storing import stored
from rerankq.bulk import storage
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.files import FileRecord, OfBatch, file_id_of
from rerankq.ledger.keys import MERGE_MS
from rerankq.settings import Settings

WRITTEN: tuple[OfBatch, ...] = ("output", "errors", "work")


class BatchFiles:
    """Their records are put down with the batch, so that they go in time, whoever asks for them or
    does not; and can be read once the batch is final.
    """

    def __init__(self, settings: Settings, files: FileStore) -> None:
        self._with_parts = settings.storage_url is not None
        self._known_ms = int(settings.result_ttl * 1000)
        self._files = files

    async def reserve(
        self,
        batch_id: str,
        spec: BatchSpec,
        *,
        owner: str,
        as_files: bool,
        within_s: int,
        kept_s: int | None,
    ) -> list[FileRecord]:
        """
        Args:
            as_files: whether the output is a file, not a URL of the caller's.
            within_s: until the batch's deadline.
            kept_s: how long its owner wants its output kept.
        """
        now = await self._files.records.now_ms()
        # It is merged once after its time, and may have been cancelled just before.
        over = now + within_s * 1000 + 2 * MERGE_MS
        kept = over + self._files.kept_ms(kept_s)

        def record(what: OfBatch, url: str, filename: str) -> FileRecord:
            file_id, purpose = file_id_of(batch_id, what), "batch_output"
            return FileRecord(file_id, owner, filename, purpose, url, now, kept, None)

        records = []
        if as_files:
            suffix = SUFFIXES[spec.output_format]
            records.append(record("output", spec.output, f"{batch_id}_output.{suffix}"))
            records.append(record("errors", spec.errors, f"{batch_id}_error.jsonl"))
        if self._with_parts:
            parts = record("work", spec.work, "")
            records.append(replace(parts, purpose=PARTS, expires=over))
        if records:
            await self._files.records.put(*records)
        return records

    async def take_over(self, batch_id: str, spec: BatchSpec, before: BatchRecord) -> BatchSpec:
        """The batch with the parts of one that was stopped, unless another batch has them."""
        mine, theirs = await self._files.records.known(
            file_id_of(batch_id, "work"), file_id_of(before.id, "work")
        )
        if mine is None or theirs is None:
            return spec
        # First: if this process dies in between, the folder has one end too many, not none.
        await self._files.records.put(replace(mine, url=theirs.url))
        if await self._files.records.forget(theirs):
            return spec.model_copy(update={"work": theirs.url})
        await self._files.records.put(mine)
        return spec

    async def give_back(self, stopped: BatchRecord, taken: BatchSpec, before: BatchSpec) -> None:
        """The batch that took the parts did not come to be.

        Args:
            taken, before: its specification with those parts, and without.
        """
        if taken.work == before.work:
            return
        now = await self._files.records.now_ms()
        file_id, expires = file_id_of(stopped.id, "work"), now + self._known_ms
        await self._files.records.put(
            FileRecord(file_id, stopped.owner, "", PARTS, taken.work, now, expires, None)
        )

    async def forget(self, records: Sequence[FileRecord]) -> None:
        """The batch did not come to be."""
        for record in records:
            await self._files.records.forget(record)

    async def of(self, batch: BatchRecord) -> tuple[str | None, str | None]:
        """Ids of a final batch's output and bad lines, which can be read by them from now on.

        Raises: Refusal: 503.
        """
        if batch.finished is None:
            return None, None
        ids = [file_id_of(batch.id, what) for what in WRITTEN]
        output, errors, parts = await self._files.records.known(*ids)
        # Of one that was stopped: for as long as it is known, the same once more takes them over.
        kept = 0 if batch.phase == "completed" else self._known_ms
        if parts is not None and parts.expires > batch.finished + kept:
            await self._files.records.put(replace(parts, expires=batch.finished + kept))
        for record, there in ((output, batch.output), (errors, batch.errors)):
            if there and record is not None and record.size is None:
                await self._publish(batch, batch.finished, record)
        if "output_uri" in batch.about:
            return None, None
        return ids[0] if batch.output else None, ids[1] if batch.errors else None

    async def _publish(self, batch: BatchRecord, finished: int, record: FileRecord) -> None:
        try:
            size = (await stored(storage.stat, record.url)).size
        except FileNotFoundError:
            return
        kept = batch.about.get("output_kept_s")
        expires = finished + self._files.kept_ms(int(kept) if kept else None)
        published = replace(record, created=finished, expires=expires, size=size)
        await self._files.records.put(published)
