"""One worker process: its parts in the order in which work flows through them."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import uuid

import redis
from celery import Celery
from redis.exceptions import RedisError

from rerankq.ledger.calls import Holder
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import root_of
from rerankq.ledger.records import WorkerInfo
from rerankq.ledger.store import Ledger
from rerankq.settings import Settings
from worker import metrics, vital
from worker.bell import Bell
from worker.bulk.runner import Runner
from worker.coalescer import Coalescer
from worker.completion import Completion
from worker.deliveries import Deliveries
from worker.encoder import Encoder
from worker.engine.interface import Engine, Profile
from worker.holdings import Holdings
from worker.intake import Intake
from worker.keeper import Keeper
from worker.listener import Listener
from worker.marks import Marks
from worker.outbox import Outbox
from worker.room import Room
from worker.score_cache import ScoreCache, fingerprint

log = logging.getLogger(__name__)

RESULT_LOST_AFTER = 2  # visibility time-outs without an acknowledgement


class Worker:
    """ledger -> intake -> coalescer -> completion -> ledger, and the keeper beside them.

    It is built from the end of that path to its beginning, since a part knows the ones that work
    goes on to. What it has to tell those before it (entries are gone, there is room again) goes
    over `_drop`, `_hear` and `_look_again` here.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.id = f"worker_{uuid.uuid4().hex}"
        self.settings = settings
        self.engine = engine
        self.ready = False
        self.outbox: Outbox | None = None
        self._drained = threading.Lock()
        profile = engine.profile
        info = _describe(self.id, profile)
        holder = Holder(self.id, info.fingerprint, int(settings.lease_seconds * 1000))
        scored_by = _scored_by(settings, profile)
        client = connect(settings.redis_url)
        self.ledger = ledger = Ledger(client, root_of(settings.further))
        self.room = _room(settings, profile)
        self.deliveries = Deliveries()
        self._holdings = holdings = Holdings(self.room)
        self._cache = _cache(client, scored_by, settings.cache_ttl)
        self.encoder = Encoder(engine, self._cache)
        self._completion = Completion(
            ledger, holdings, profile, self.id, scored=self.encoder.keep, after=self._look_again
        )
        marks = Marks(ledger, holdings, holder, drop=self._drop)
        self.coalescer = Coalescer(engine, before_launch=marks.before_launch)
        self._keeper = self._make_keeper(info, holder)
        self.redis_now_ms = self._keeper.redis_now_ms
        self._listener = Listener(ledger, holdings, holder, drop=self._drop, rung=self._hear)
        self._chunks = self._make_runner(scored_by)
        self.intake = Intake(
            ledger,
            self.encoder,
            self.coalescer,
            self._completion,
            holdings,
            self.room,
            holder,
            self._chunks,
        )
        self._bell = Bell(ledger, self.room, self.intake)

    def start(self) -> None:
        """Take work from now on."""
        profile = self.engine.profile
        metrics.MODEL_INFO.labels(
            profile.model, profile.revision, profile.dtype, profile.device, profile.layout
        ).set(1)
        vital.at_death(self._keeper.hand_back)
        vital.at_death(self.deliveries.hand_back)
        if self._cache is not None:
            self._cache.start()
        self._completion.start()
        self.coalescer.start()
        self._keeper.start()
        self._listener.start()
        self.intake.start()
        self.intake.ring()
        self._bell.start()
        self.ready = True
        log.info("worker ready", extra={"worker": self.id, "room": self.room.capacity})

    def publish_results(self, app: Celery) -> None:
        """Publish what public tasks wait for, from now on, with this Celery app."""
        again_ms = int(RESULT_LOST_AFTER * self.settings.visibility_timeout * 1000)
        self.outbox = Outbox(app, self.ledger, again_ms=again_ms)
        self.outbox.start()

    def drain(self) -> None:
        """Finish what is on the device, hand everything else back, stop. Idempotent."""
        with self._drained:
            if not self.ready:
                return
            self.ready = False
            self._keeper.state = "draining"
            log.info("draining", extra={"worker": self.id})
            self.room.close()
            self._bell.stop()
            self.intake.stop()
            self._chunks.stop()
            self.coalescer.drain()
            # Results are written first, in order; what is left was never scored.
            self._completion.release(self._holdings.entries())
            self._completion.stop()
            if self._cache is not None:
                self._cache.stop()
            self._keeper.stop()
            self._listener.stop()
            if self.outbox is not None:
                self.outbox.stop()
            with contextlib.suppress(RedisError):  # silence says the same, a little later
                self.ledger.forget_worker(self.id)
            log.info("drained", extra={"worker": self.id})

    def _drop(self, gone: set[str]) -> None:
        """Stop working on these entries; they are no longer this worker's."""
        if gone:
            self.coalescer.drop(self._holdings.remove(gone))
            self.intake.ring()

    def _hear(self) -> None:
        """A bell was put down."""
        self._bell.listen()

    def _look_again(self, ended: bool) -> None:
        """Something was completed: there is room, and a public task may have ended."""
        self.intake.look_again()
        if ended and self.outbox is not None:
            self.outbox.ring()

    def _make_keeper(self, info: WorkerInfo, holder: Holder) -> Keeper:
        return Keeper(
            self.ledger,
            self.engine,
            self.coalescer,
            self._holdings,
            info,
            lease_ms=holder.lease_ms,
            max_strikes=self.settings.max_attempts,
            drop=self._drop,
            renew_deliveries=self.deliveries.renew,
        )

    def _make_runner(self, scored_by: str) -> Runner:
        return Runner(
            self.ledger,
            self.encoder,
            self.coalescer,
            self._holdings,
            self.engine.profile,
            worker=self.id,
            scored_by=scored_by,
            now_ms=self.redis_now_ms,
            after=lambda: self.intake.ring(),
        )


def _room(settings: Settings, profile: Profile) -> Room:
    # One batch's worth for interactive work, and two shards so that one is there when the other
    # ends.
    budget = profile.token_budget
    return Room(2 * max(settings.shard_tokens, budget) + budget, reserve=budget)


def _scored_by(settings: Settings, profile: Profile) -> str:
    return fingerprint(
        profile,
        # Beyond its limit a query is refused, whatever is known of it.
        f"max_query_tokens={settings.max_query_tokens}",
        f"control_tokens={settings.control_tokens}",
    )


def _cache(client: redis.Redis, scored_by: str, ttl_s: float) -> ScoreCache | None:
    return ScoreCache(client, scored_by, ttl_s) if ttl_s else None


def _describe(worker: str, profile: Profile) -> WorkerInfo:
    return WorkerInfo(
        id=worker,
        state="ready",
        model=profile.model,
        revision=profile.revision,
        template=profile.template,
        score_space=profile.score_space,
        instruction=profile.instruction,
        max_length=profile.max_length,
        dtype=profile.dtype,
        device=profile.device,
        attention=profile.layout,
        engine=profile.engine,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
