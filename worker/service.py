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
from worker.outbox import Outbox
from worker.room import Room
from worker.score_cache import ScoreCache, fingerprint
from worker.withdrawals import Withdrawals

log = logging.getLogger(__name__)

RESULT_LOST_AFTER = 2  # visibility time-outs without an acknowledgement


class Worker:
    """ledger -> intake -> coalescer -> completion -> ledger, and the keeper beside them."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.id = f"worker_{uuid.uuid4().hex}"
        self.settings = settings
        profile = engine.profile
        lease_ms = int(settings.lease_seconds * 1000)
        # One batch's worth for interactive work, and two shards so that one is there when the
        # other ends.
        budget = profile.token_budget
        self.room = Room(2 * max(settings.shard_tokens, budget) + budget, reserve=budget)
        self.engine = engine
        self.deliveries = Deliveries()
        self._holdings = holdings = Holdings(self.room)
        client = connect(settings.redis_url)
        self.ledger = Ledger(client, root_of(settings.further))
        self._cache = _cache(client, settings, profile)
        self.encoder = Encoder(engine, self._cache)
        self._completion = Completion(self.ledger, holdings, profile, self.id)
        self.coalescer = Coalescer(
            engine, before_launch=lambda works: self._keeper.before_launch(works)
        )
        info = _describe(self.id, profile)
        self._keeper = Keeper(
            self.ledger,
            engine,
            self.coalescer,
            holdings,
            info,
            lease_ms=lease_ms,
            max_strikes=settings.max_attempts,
        )
        self._chunks = Runner(
            self.ledger,
            self.encoder,
            self.coalescer,
            holdings,
            profile,
            worker=self.id,
            scored_by=fingerprint(profile, *_limits(settings)),
            now_ms=lambda: self._keeper.redis_now_ms(),
        )
        self._withdrawals = Withdrawals(
            self.ledger, holdings, worker=self.id, lease_ms=lease_ms, drop=self._keeper.drop
        )
        self._keeper.renew_deliveries = self.deliveries.renew
        self.intake = Intake(
            self.ledger,
            self.encoder,
            self.coalescer,
            self._completion,
            holdings,
            self.room,
            Holder(self.id, info.fingerprint, lease_ms),
            self._chunks,
        )
        self._bell = Bell(self.ledger, self.room, self.intake)
        self._completion.scored = self._chunks.scored = self.encoder.keep
        self._chunks.after = self.intake.ring
        self._completion.after = self._look_again
        self._keeper.after_drop = self.intake.ring
        self.outbox: Outbox | None = None
        self.redis_now_ms = self._keeper.redis_now_ms
        self._drained = threading.Lock()
        self.ready = False
        metrics.MODEL_INFO.labels(
            profile.model, profile.revision, profile.dtype, profile.device, profile.layout
        ).set(1)

    def start(self) -> None:
        """Take work from now on."""
        vital.at_death(self._keeper.hand_back)
        vital.at_death(self.deliveries.hand_back)
        if self._cache is not None:
            self._cache.start()
        self._completion.start()
        self.coalescer.start()
        self._keeper.start()
        self._withdrawals.start()
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

    def _look_again(self, ended: bool) -> None:
        """Something was completed: there is room, and a public task may have ended."""
        self.intake.look_again()
        if ended and self.outbox is not None:
            self.outbox.ring()

    def drain(self) -> None:
        """Finish the batch on the device, hand everything else back, stop. Idempotent."""
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
            self._withdrawals.stop()
            if self.outbox is not None:
                self.outbox.stop()
            with contextlib.suppress(RedisError):  # silence says the same, a little later
                self.ledger.forget_worker(self.id)
            log.info("drained", extra={"worker": self.id})


def _cache(client: redis.Redis, settings: Settings, profile: Profile) -> ScoreCache | None:
    if not settings.cache_ttl:
        return None
    return ScoreCache(client, fingerprint(profile, *_limits(settings)), settings.cache_ttl)


def _limits(settings: Settings) -> tuple[str, str]:
    # Beyond its limit a query is refused, whatever is known of it.
    limit = f"max_query_tokens={settings.max_query_tokens}"
    return limit, f"control_tokens={settings.control_tokens}"


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
