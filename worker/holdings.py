"""Which ledger entries this worker holds, from taking to completing: one owner for that fact."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rerankq.ledger.keys import split_entry
from worker import traces
from worker.room import Room
from worker.work import Work


class Holdings:
    """Entries and what was counted against the room for each."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._tokens: dict[str, int] = {}
        self._works: dict[str, Work] = {}
        self._since: dict[str, float] = {}  # entry that is being tokenized -> monotonic time
        self._marked: dict[str, float] = {}  # entry that is on the device -> monotonic time
        self._lock = threading.Lock()

    def add(self, entry: str, tokens: int) -> bool:
        """False if it is held already: a worker that slept past its leases can take its own."""
        with self._lock:
            if entry in self._tokens:
                return False
            self._tokens[entry] = tokens
        self._room.take(tokens)
        return True

    def attach(self, entry: str, work: Work) -> None:
        """The entry is tokenized and this is its work."""
        with self._lock:
            if entry in self._tokens:
                self._works[entry] = work

    def remove(self, entries: Iterable[str]) -> list[Work]:
        """No longer held, whatever became of them; returns the works that had been attached."""
        works = []
        for entry in entries:
            with self._lock:
                tokens = self._tokens.pop(entry, None)
                self._marked.pop(entry, None)
                work = self._works.pop(entry, None)
            if tokens is not None:
                self._room.give_back(tokens)
            if work is not None:
                traces.ended(work)
                works.append(work)
        return works

    @contextmanager
    def tokenizing(self, entry: str) -> Iterator[None]:
        """The entry is with the tokenizer, from now until the end of the block."""
        with self._lock:
            self._since[entry] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._since.pop(entry, None)

    def tokenizing_for(self, seconds: float) -> set[str]:
        """Entries that have been with the tokenizer for longer than that."""
        since = time.monotonic() - seconds
        with self._lock:
            return {entry for entry, began in self._since.items() if began < since}

    def mark(self, entries: Iterable[str], at: float) -> None:
        """The ledger was told that these are on the device."""
        with self._lock:
            self._marked |= {entry: at for entry in entries if entry in self._tokens}

    def marked(self, since: float) -> set[str]:
        """Entries of which it was told then or later, and which are still held."""
        with self._lock:
            return {entry for entry, at in self._marked.items() if at >= since}

    def holds(self, entry: str) -> bool:
        with self._lock:
            return entry in self._tokens

    def of_job(self, job_id: str) -> set[str]:
        with self._lock:
            return {entry for entry in self._tokens if split_entry(entry)[0] == job_id}

    def entries(self) -> list[str]:
        with self._lock:
            return list(self._tokens)
