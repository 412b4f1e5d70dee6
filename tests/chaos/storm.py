"""The storm: processes killed at random, Redis killed and frozen, connections cut."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from scripts.localsystem import LocalSystem

RECOVERED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Plan:
    """How often each thing happens while the load runs."""

    kills: int = 30
    redis_kills: int = 3
    freezes_s: tuple[float, ...] = (5.0, 20.0)
    resets: int = 5
    api_kills: int = 2


@dataclass
class Damage:
    """What was done."""

    worker_kills: int = 0
    leases_hit: int = 0
    redis_kills: int = 0
    freezes: int = 0
    resets: int = 0
    api_kills: int = 0
    recoveries_s: list[float] = field(default_factory=list)


class Storm:
    """Works its plan off in random order, spread over the load by how much of it is done."""

    def __init__(self, system: LocalSystem, plan: Plan, *, seed: int) -> None:
        self._system = system
        self._rng = random.Random(seed)
        self._redis: Any = redis.Redis.from_url(system.redis_url, socket_timeout=5)
        self.damage = Damage()
        self._watchers: list[threading.Thread] = []
        actions: list[Callable[[], bool]] = [self.kill_a_worker] * plan.kills
        actions += [self.kill_redis] * plan.redis_kills
        actions += [self.cut_connections] * plan.resets
        actions += [self.kill_an_api] * plan.api_kills
        actions += [self._freezing(seconds) for seconds in plan.freezes_s]
        self._rng.shuffle(actions)
        self._actions = actions

    def run(self, done: Callable[[], float]) -> None:
        """Until the plan is worked off, or `done` (0 to 1, the load's progress) reaches 1."""
        for n, action in enumerate(self._actions):
            while done() < 1 and not (done() >= n / (len(self._actions) + 1) and self._try(action)):
                time.sleep(0.05)
        for watcher in self._watchers:
            watcher.join(RECOVERED_WITHIN_S)
        self._redis.close()

    def _try(self, action: Callable[[], bool]) -> bool:
        try:
            return action()
        except redis.RedisError:
            return False  # Redis has not come back from the last one yet

    def kill_a_worker(self) -> bool:
        """One that is ready and holds leases; while there is none, nothing is proven."""
        held: dict[bytes, list[bytes]] = {}
        for entry, owner in self._redis.hgetall("rerankq:owner").items():
            held.setdefault(owner, []).append(entry)
        alive = {child.process.pid for child in self._system.children if child.process}
        victims = []
        for owner in held:
            pid = int(self._redis.hget(b"rerankq:worker:" + owner, "pid") or 0)
            if pid in alive:
                victims.append((pid, owner))
        if not victims:
            return False
        pid, owner = self._rng.choice(sorted(victims))
        os.kill(pid, signal.SIGKILL)
        self.damage.worker_kills += 1
        self.damage.leases_hit += len(held[owner])
        watcher = threading.Thread(target=self._recovery, args=(owner,))
        watcher.start()
        self._watchers.append(watcher)
        return True

    def _recovery(self, owner: bytes) -> None:
        """How long the dead worker's leases stay its own."""
        started = time.monotonic()
        with redis.Redis.from_url(self._system.redis_url, socket_timeout=5) as own:
            while time.monotonic() - started < RECOVERED_WITHIN_S:
                time.sleep(0.2)
                try:
                    owners: Any = own.hvals("rerankq:owner")
                except redis.RedisError:
                    continue
                if owner not in owners:
                    break
        self.damage.recoveries_s.append(time.monotonic() - started)

    def kill_redis(self) -> bool:
        self._signal("redis", signal.SIGKILL)
        self.damage.redis_kills += 1
        return True

    def cut_connections(self) -> bool:
        for kind in ("normal", "pubsub"):
            self._redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        self.damage.resets += 1
        return True

    def kill_an_api(self) -> bool:
        names = [child.name for child in self._system.children if child.name.startswith("api")]
        self._signal(self._rng.choice(names), signal.SIGKILL)
        self.damage.api_kills += 1
        return True

    def _freezing(self, seconds: float) -> Callable[[], bool]:
        def freeze() -> bool:
            self._signal("redis", signal.SIGSTOP)
            time.sleep(seconds)
            self._signal("redis", signal.SIGCONT)
            self.damage.freezes += 1
            return True

        return freeze

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._system.child(name).process
        assert process is not None
        process.send_signal(number)
