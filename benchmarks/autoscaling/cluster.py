"""Pods and the GPU nodes under them: how long one takes to come, and what is paid."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

BEAT_S = 1.0  # a worker's heartbeat
BUSY_S = 60.0  # over which a heartbeat says how busy the device was


@dataclass(frozen=True)
class Pool:
    """What the workers run on. Every number is an assumption to be replaced by one's own."""

    rate: float = 250.0  # pairs/s of one replica
    shard_s: float = 1.0  # device time of a shard at most
    room_s: float = 2.5  # device time of the work a worker holds at most
    node_s: tuple[float, float] = (50, 120)  # until a new node is there
    image_s: tuple[float, float] = (20, 60)  # pulled once a node
    load_s: tuple[float, float] = (30, 60)  # process, model, warming
    drain_s: float = 3.0  # SIGTERM to exit
    linger_s: float = 600.0  # an empty node is paid that long, and may be used again
    cores_busy: float = 1.0  # CPU of a worker whose device works: the thread that feeds it
    cores_idle: float = 0.03
    price: float = 2.5  # of a GPU hour


class Node:
    __slots__ = ("born", "free_until")

    def __init__(self, born: float) -> None:
        self.born = born
        self.free_until: float | None = None


class Pod:
    """One worker. `since` is when its device took up a shard, None while it is idle."""

    __slots__ = ("beats", "busy_s", "leaving", "node", "ready_at", "seen_s", "since", "tenths")

    def __init__(self, node: Node, ready_at: float) -> None:
        self.node = node
        self.ready_at = ready_at
        self.since: float | None = None
        self.busy_s = 0.0
        self.seen_s = 0.0  # of busy_s at the last look
        self.leaving = False
        self.beats = deque([0.0], maxlen=int(BUSY_S / BEAT_S) + 1)  # busy_s at each
        self.tenths = 0  # of the device's time, as the last heartbeat said it

    def beat(self, now: float) -> None:
        self.beats.append(self.busy_until(now))
        over = (len(self.beats) - 1) * BEAT_S
        self.tenths = round(10 * min(1.0, (self.beats[-1] - self.beats[0]) / over))

    def busy_until(self, now: float) -> float:
        return self.busy_s + (now - self.since if self.since is not None else 0.0)


class Nodes:
    """Nodes by demand. Each is paid from the request for it until nobody needed it for a while."""

    def __init__(self, pool: Pool, random: Random) -> None:
        self._pool, self._random = pool, random
        self._free: list[Node] = []
        self._used: set[Node] = set()
        self._paid_s = 0.0

    def place(self, now: float) -> Pod:
        """A new pod, on an empty node that is still there or on a new one."""
        self._expire(now)
        load = self._random.uniform(*self._pool.load_s)
        if self._free:
            node = self._free.pop()
            node.free_until = None
            self._used.add(node)
            return Pod(node, now + load)
        node = Node(now)
        self._used.add(node)
        fresh = self._random.uniform(*self._pool.node_s) + self._random.uniform(*self._pool.image_s)
        return Pod(node, now + fresh + load)

    def release(self, now: float, pod: Pod) -> None:
        self._used.remove(pod.node)
        pod.node.free_until = now + self._pool.linger_s
        self._free.append(pod.node)

    def hours(self, now: float) -> float:
        """What was paid until now, in hours."""
        self._expire(now)
        running = sum(now - node.born for node in [*self._used, *self._free])
        return (self._paid_s + running) / 3600

    def _expire(self, now: float) -> None:
        kept = []
        for node in self._free:
            if node.free_until is not None and node.free_until <= now:
                self._paid_s += node.free_until - node.born
            else:
                kept.append(node)
        self._free = kept
