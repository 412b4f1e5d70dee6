"""The small file beside the output that lets a second run go on where the first one was."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from rerankq.bulk import local, storage
from rerankq.bulk.command.order import Order


class Kept(BaseModel):
    """
    Attributes:
        fingerprint: of the order whose batch this is.
        files: of a local file, its path and version -> the id it was uploaded under.
    """

    fingerprint: str = ""
    batch: str = ""
    files: dict[str, str] = Field(default_factory=dict)


class Notes:
    """What was kept, read once and written with each change.

    Beside the output; if that is not on this machine, beside the input. With neither there is
    nothing to keep: no file is uploaded then, and the batch is found by its metadata.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        beside = storage.local_path(order.spec.output) or storage.local_path(order.spec.input)
        self._path = beside and Path(f"{beside}.rerankq.json")
        self._kept = self._read()

    @property
    def batch(self) -> str | None:
        """Of this very order."""
        mine = self._kept.fingerprint == self._order.fingerprint
        return self._kept.batch if mine and self._kept.batch else None

    def file(self, key: str) -> str | None:
        return self._kept.files.get(key)

    def note_file(self, key: str, file_id: str) -> None:
        self._kept.files[key] = file_id
        self._write()

    def note_batch(self, batch_id: str) -> None:
        self._kept.fingerprint, self._kept.batch = self._order.fingerprint, batch_id
        self._write()

    def drop_batch(self) -> None:
        """It came to nothing, and another one is about to be started."""
        self._kept.batch = ""

    def forget(self) -> None:
        """The output is there: nothing is left to go on with."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> Kept:
        if self._path is None:
            return Kept()
        try:
            return Kept.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return Kept()  # it only saves work: without it, all is done from the start

    def _write(self) -> None:
        if self._path is not None:
            local.put(str(self._path), self._kept.model_dump_json().encode())
