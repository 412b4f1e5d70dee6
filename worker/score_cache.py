"""Scores of pairs that were scored before, in Redis, each for a limited time.

A key is a digest of all that the score follows from, so an entry is never wrong and nothing is ever
withdrawn. Best effort: what Redis refuses or does not answer is scored again.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from queue import Full, Queue
from typing import Any

import redis
from redis.exceptions import RedisError

from rerankq import __version__, tls
from rerankq.ledger.connection import is_full
from rerankq.ledger.keys import FULLEST_FOR_SCORES, Key, name
from rerankq.ledger.store import share_of
from worker import metrics
from worker.engine.interface import Profile
from worker.work import Answer, Work

log = logging.getLogger(__name__)

# What a worker may differ in and give the same scores, but for rounding.
INDIFFERENT = ("device", "layout", "token_budget", "engine")

# One call and one wait for the disk; a SET each takes the worker five times as long.
KEEP = "for i = 2, #ARGV, 2 do redis.call('SET', ARGV[i], ARGV[i + 1], 'PX', ARGV[1]) end"
KEPT_AT_ONCE = 200  # about 2 ms of Redis's time
MOST_WAITING = 64  # works; what is scored while Redis is too slow to take it is not kept
REST_S = 5.0  # without an answer; or each shard would wait as long as a call may take
LOOK_EVERY_S = 1.0  # at Redis's memory
SAY_EVERY_S = 60.0  # why nothing is kept or found
LAST_WORDS_S = 1.0
FILLING = "redis is filling up"

_VALUE = struct.Struct("<fI?")  # log-odds, tokens, truncated
_DIGEST_BYTES = 16
_ABSENT = b"\xff" * 8


def fingerprint(profile: Profile, *further: str) -> str:
    """All that a score follows from besides its texts.

    Every field of the profile counts unless it is known not to, so that a new one cannot be
    forgotten; so does the release, which may lay a text out in another way.

    Args:
        further: settings that decide what is scored and are no part of the profile.
    """
    fields = {key: value for key, value in asdict(profile).items() if key not in INDIFFERENT}
    return json.dumps([__version__, sorted(fields.items()), further])


class ScoreCache:
    """Looks up on the caller's thread, writes on one of its own.

    Args:
        fingerprint: see there.
        ttl_s: how long an entry lives after it was written.
    """

    def __init__(self, client: redis.Redis, fingerprint: str, ttl_s: float) -> None:
        self._client: Any = client  # typed for both of its modes at once, as in the ledger
        self._fingerprint = _framed(fingerprint)
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._root = name(Key.SCORE).encode()
        self._scored: Queue[Work | None] = Queue(MOST_WAITING)
        # Not vital: a worker without it scores as well.
        self._thread = threading.Thread(target=self._run, name="score-cache", daemon=True)
        self._rest_until = float("-inf")
        self._look_at = float("-inf")
        self._full = False
        self._quiet_until = float("-inf")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when what was scored so far is kept, or Redis takes too long."""
        with suppress(Full):
            self._scored.put_nowait(None)
        if self._thread.ident is not None:
            self._thread.join(LAST_WORDS_S)

    def keys(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[bytes]:
        """The pairs' names in Redis, in document order."""
        before = self._fingerprint + _framed(instruction) + _framed(query)
        if document_tokens is not None:
            before += _framed(str(document_tokens))
        shared = blake2b(before, digest_size=_DIGEST_BYTES)
        keys = []
        for document in documents:
            digest = shared.copy()
            digest.update(_framed(document))
            keys.append(self._root + digest.digest())
        return keys

    def look_up(self, keys: Sequence[bytes]) -> list[Answer | None]:
        """What is known of each, in order; nothing while Redis does not answer."""
        unknown: list[Answer | None] = [None] * len(keys)
        if time.monotonic() < self._rest_until:
            return unknown
        try:
            values = self._client.mget(keys)
        except RedisError as error:
            self._rest_until = time.monotonic() + REST_S
            self._say("no score looked up", tls.reason(error))
            return unknown
        answers = [_decoded(value) for value in values]
        metrics.CACHE_HITS.inc(sum(answer is not None for answer in answers))
        return answers

    def keep(self, work: Work) -> None:
        """Have what was scored of it written, soon; never blocks."""
        if work.keys and work.error is None:
            with suppress(Full):
                self._scored.put_nowait(work)

    def _run(self) -> None:
        while (work := self._scored.get()) is not None:
            try:
                self._write(work)
            except Exception as error:  # whatever it is, nobody's work may depend on it
                full = isinstance(error, RedisError) and is_full(error)
                self._say("scores not kept", FILLING if full else tls.reason(error))

    def _write(self, work: Work) -> None:
        if not self._has_room():
            self._say("scores not kept", FILLING)
            return
        values = dict(zip(work.keys, map(_encoded, work.scored), strict=True))
        entries = list(values.items())
        for first in range(0, len(entries), KEPT_AT_ONCE):
            args = [part for entry in entries[first : first + KEPT_AT_ONCE] for part in entry]
            self._client.eval(KEEP, 0, self._ttl_ms, *args)

    def _has_room(self) -> bool:
        if time.monotonic() >= self._look_at:
            self._full = share_of(self._client.info("memory")) >= FULLEST_FOR_SCORES
            self._look_at = time.monotonic() + LOOK_EVERY_S
        return not self._full

    def _say(self, what: str, reason: str) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + SAY_EVERY_S
            log.warning(what, extra={"reason": reason})


def _framed(text: str | None) -> bytes:
    """With its length in front, so that no two rows of texts read the same."""
    if text is None:
        return _ABSENT
    data = text.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "big") + data


def _encoded(answer: Answer) -> bytes:
    return _VALUE.pack(answer.log_odds, answer.tokens, answer.truncated)


def _decoded(value: bytes | None) -> Answer | None:
    if value is None or len(value) != _VALUE.size:
        return None
    return Answer(*_VALUE.unpack(value))
