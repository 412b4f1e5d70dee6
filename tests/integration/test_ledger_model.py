"""The ledger against a model of it, through random interleavings of everything that can happen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rerankq.ledger import calls, keys, verbs
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, Part, name, split_entry
from rerankq.ledger.store import Ledger
from rerankq.status import JobStatus, Lane
from tests.integration.bench import LEASE_MS, STRIKES, TOKENS, Bench, holder

WORKERS = st.sampled_from(["a", "b"])


@dataclass
class Losses:
    """What `reap` remembers of an entry."""

    all: int = 0
    on_device: int = 0
    strikes: int = 0

    @property
    def suspect(self) -> bool:
        return self.on_device >= keys.SUSPECT_DEVICE_LOSSES or self.all >= keys.SUSPECT_LOSSES


@dataclass
class Expected:
    """A job as it ought to be."""

    lane: Lane
    shards: int
    status: JobStatus = JobStatus.QUEUED
    open: set[str] = field(default_factory=set)
    scored: int = 0
    overdue: bool = False
    kept: set[int] = field(default_factory=set)  # numbers of shards that a retry would score
    retried: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """Drives the real scripts and this model side by side, and compares after every step."""

    bench: Bench  # set by the test

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Expected] = {}
        self.owner: dict[str, str] = {}  # leased entry -> worker
        self.marked: set[str] = set()
        self.lapsed: set[str] = set()
        self.losses: dict[str, Losses] = {}
        self.paused: set[Lane] = set()

    @initialize()
    def begin(self) -> None:
        # The same steps must give the same ids and the same order, whatever the clock says.
        self.bench.numbers = itertools.count()
        self.bench.redis.flushdb()
        self.bench.reap()

    # Few at a time, so that the same entries are lost again and again.
    @precondition(lambda self: sum(bool(job.open) for job in self.jobs.values()) < 3)
    @rule(shards=st.integers(1, 3), lane=st.sampled_from(Lane))
    def commit(self, shards: int, lane: Lane) -> None:
        job_id = self.bench.commit(shards=shards, lane=lane, stride=0).about
        entries = {keys.entry(job_id, k) for k in range(shards)}
        self.jobs[job_id] = Expected(lane, shards, open=entries)

    @rule(
        worker=WORKERS, most=st.integers(1, 4), room=st.integers(1, 4 * TOKENS), mark=st.booleans()
    )
    def take(self, worker: str, most: int, room: int, mark: bool) -> None:
        options = {"most": most, "room": room, "bulk_room": room, "idle": True, "mark": mark}
        taken = self.bench.take(worker, **options)
        self.marked |= {item.entry for item in taken} if mark and len(taken) == 1 else set()
        for item in taken:
            assert not self._lost(item.entry).suspect
            self._lease(item.entry, worker)
            assert self.jobs[item.job_id].lane not in self.paused
        if not taken:
            # With room for one at least, nothing but suspects may have been left.
            assert all(self._lost(entry).suspect for entry in self._takable())

    @rule(worker=WORKERS)
    def take_alone(self, worker: str) -> None:
        taken = self.bench.ledger.run(calls.take_alone(holder(worker))).entries
        suspects = {entry for entry in self._takable() if self._lost(entry).suspect}
        assert len(taken) == min(1, len(suspects))
        for item in taken:
            assert item.entry in suspects
            self._lease(item.entry, worker)

    @precondition(lambda self: self.owner)
    @rule(mark=st.booleans(), data=st.data())
    def hold(self, mark: bool, data: st.DataObject) -> None:
        entries = self._some_leased(data)
        worker = self.owner[entries[0]]
        gone = self.bench.ledger.run(calls.hold(worker, LEASE_MS, entries, mark=mark))
        kept = {entry for entry in entries if self.owner[entry] == worker}
        assert gone == set(entries) - kept
        self.lapsed -= kept
        self.marked |= kept if mark else set()

    @precondition(lambda self: self.lapsed)
    @rule()
    def hold_late(self) -> None:
        """A renewal that comes after the lease's end and before the reaper."""
        entry = min(self.lapsed)
        call = calls.hold(self.owner[entry], LEASE_MS, [entry], mark=False)
        assert self.bench.ledger.run(call) == set()
        self.lapsed.discard(entry)

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        for entry in self._some_leased(data):
            self.bench.lapse(entry)
            self.lapsed.add(entry)

    @precondition(lambda self: self.owner)
    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        """With everything it holds on its device; and its leases lapse."""
        held = sorted(entry for entry, owner in self.owner.items() if owner == worker)
        if held:
            assert self.bench.ledger.run(calls.hold(worker, LEASE_MS, held, mark=True)) == set()
            self.bench.lapse(*held)
            self.marked.update(held)
            self.lapsed.update(held)
            self.reap()

    @rule()
    def sleep_and_reap(self) -> None:
        """Redis or the host slept: nobody could renew, so nobody loses anything."""
        now = self.bench.redis.time()[0] * 1000  # type: ignore[index]
        self.bench.redis.set(name(Key.TICK), now - keys.TICK_STALE_MS - 2_000)
        assert self.bench.reap() == (0, 0)
        self.lapsed.clear()

    @rule()
    def reap(self) -> None:
        reclaimed, expired = self.bench.reap()
        assert reclaimed == self._count_losses()
        overdue = [job for job in self.jobs.values() if job.overdue and not job.status.final]
        for job in overdue:
            self._end(job, JobStatus.EXPIRED)
        assert expired == len(overdue)

    @precondition(lambda self: any(job.open for job in self.jobs.values()))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """By its holder, or by one that lost it before."""
        every = sorted(
            keys.entry(job_id, k) for job_id, job in self.jobs.items() for k in range(job.shards)
        )
        entry = data.draw(st.sampled_from(every))
        job = self.jobs[split_entry(entry)[0]]
        if job.status is JobStatus.QUEUED:
            return  # nobody can have scored what nobody ever took
        counts = entry in job.open
        assert self.bench.complete(entry) == counts
        if counts:
            self._close(job, entry)
            job.scored += 1
            if not job.open:
                job.status = JobStatus.SUCCEEDED

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        entries = self._some_leased(data)
        worker = self.owner[entries[0]]
        mine = [entry for entry in entries if self.owner[entry] == worker]
        assert self.bench.ledger.run(calls.release(worker, entries)) == len(mine)
        for entry in mine:
            self._unlease(entry)

    @precondition(lambda self: len(self.jobs) > 3)
    @rule(data=st.data(), status=st.sampled_from([JobStatus.CANCELLED, JobStatus.FAILED]))
    def end(self, data: st.DataObject, status: JobStatus) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        assert self.bench.finish(job_id, status) == (not job.status.final)
        self._end(job, status)

    @rule(lane=st.sampled_from(Lane), paused=st.booleans())
    def pause(self, lane: Lane, paused: bool) -> None:
        self.bench.ledger.run(verbs.pause(lane, paused=paused))
        (self.paused.add if paused else self.paused.discard)(lane)

    @precondition(lambda self: any(job.kept for job in self.jobs.values()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        failed = [job_id for job_id, job in self.jobs.items() if job.kept]
        job_id = data.draw(st.sampled_from(sorted(failed)))
        old, new_id = self.jobs[job_id], self.bench.new_id()
        retried = self.bench.ledger.run(verbs.retry(job_id, new_id, 1000))
        assert retried.outcome == ("existing" if old.retried else "created")
        if not old.retried:
            entries = {keys.entry(new_id, k) for k in old.kept}
            self.jobs[new_id] = Expected(old.lane, old.shards, open=entries, scored=old.scored)
            old.retried = True

    @rule(lane=st.sampled_from(Lane))
    @precondition(lambda self: len(self.jobs) > 3)
    def purge(self, lane: Lane) -> None:
        purged = self.bench.ledger.run(verbs.purge(lane, 2**53))
        doomed = [job for job in self.jobs.values() if job.open and job.lane is lane]
        assert purged == verbs.Purged(len(doomed), False)
        for job in doomed:
            self._end(job, JobStatus.CANCELLED)

    @precondition(lambda self: len(self.jobs) > 3)
    @rule(data=st.data())
    def let_a_deadline_pass(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.bench.redis.zadd(name(Key.DEADLINES), {job_id: 1}, xx=True)
        self.jobs[job_id].overdue = True

    @invariant()
    def the_indexes_agree(self) -> None:
        opened = {entry for job in self.jobs.values() for entry in job.open}
        ready = {lane: self._members(Key.READY, lane) for lane in Lane}
        for lane in Lane:
            expected = {e for job in self.jobs.values() if job.lane is lane for e in job.open}
            assert self._members(Key.PENDING, lane) == expected
            tokens = int(self.bench.redis.get(name(Key.TOKENS, lane)) or 0)  # type: ignore[arg-type]
            assert tokens == TOKENS * len(expected)
        leased = self._members(Key.LEASE)
        every_ready = ready[Lane.INTERACTIVE] | ready[Lane.BULK]
        assert leased == set(self.owner)
        over: list[bytes] = self.bench.redis.zrangebyscore(name(Key.LEASE), 0, 1)  # type: ignore[assignment]
        assert {entry.decode() for entry in over} == self.lapsed
        assert every_ready == self._ready()
        assert not leased & every_ready
        assert leased | every_ready == opened, "an open entry that is neither ready nor leased"
        owners: dict[bytes, bytes] = self.bench.redis.hgetall(name(Key.OWNER))  # type: ignore[assignment]
        assert {e.decode(): w.decode() for e, w in owners.items()} == self.owner
        assert self._fields(name(Key.DEVICE)) == self.marked
        assert self._members(Key.SUSPECTS) == {e for e in opened if self._lost(e).suspect}
        assert self._fields(name(Key.TROUBLE)) == {e for e in opened if self._lost(e).all}

    @invariant()
    def every_job_is_as_expected(self) -> None:
        unfinished = {job_id for job_id, job in self.jobs.items() if not job.status.final}
        assert self._members(Key.DEADLINES) == unfinished
        for job_id, job in self.jobs.items():
            record = self.bench.job(job_id)
            key = name(Key.JOB, job_id)
            assert (record.status, record.scored) == (job.status, job.scored)
            assert self._fields(key + Part.INPUT) == {str(split_entry(e)[1]) for e in job.open}
            assert self._fields(key + Part.KEPT) == {str(k) for k in job.kept}
            assert self.bench.redis.hlen(key + Part.OUTPUT) == job.scored
            assert int(self.bench.redis.hget(key, "left") or -1) == job.shards - job.scored
            assert (self.bench.redis.ttl(key) == -1) == (not job.status.final)

    def teardown(self) -> None:
        """Nothing is pending for ever: whatever happened, a worker that lives ends all of it."""
        for entry in self.owner:
            self.bench.lapse(entry)
        if self.jobs:
            self.bench.reap()
        for lane in Lane:
            self.bench.ledger.run(verbs.pause(lane, paused=False))
        while True:
            taken = self.bench.take("z")
            taken += self.bench.ledger.run(calls.take_alone(holder("z"))).entries
            if not taken:
                break
            for item in taken:
                assert self.bench.complete(item.entry)
        self.bench.assert_empty()

    def _ready(self) -> set[str]:
        return {e for job in self.jobs.values() for e in job.open if e not in self.owner}

    def _takable(self) -> set[str]:
        return {e for e in self._ready() if self.jobs[split_entry(e)[0]].lane not in self.paused}

    def _lost(self, entry: str) -> Losses:
        return self.losses.setdefault(entry, Losses())

    def _some_leased(self, data: st.DataObject) -> list[str]:
        leased = st.sampled_from(sorted(self.owner))
        return data.draw(st.lists(leased, min_size=1, max_size=4, unique=True))

    def _lease(self, entry: str, worker: str) -> None:
        job = self.jobs[split_entry(entry)[0]]
        assert entry in job.open
        assert entry not in self.owner, "taken twice"
        job.status = JobStatus.RUNNING
        self.owner[entry] = worker

    def _unlease(self, entry: str) -> None:
        self.owner.pop(entry, None)
        self.marked.discard(entry)
        self.lapsed.discard(entry)

    def _close(self, job: Expected, entry: str) -> None:
        job.open.discard(entry)
        self._unlease(entry)

    def _end(self, job: Expected, status: JobStatus) -> None:
        if not job.status.final:
            job.status = status
            if status is JobStatus.FAILED:
                job.kept = {split_entry(entry)[1] for entry in job.open}
            for entry in sorted(job.open):
                self._close(job, entry)

    def _count_losses(self) -> int:
        """How many entries were lost."""
        lost_entries = 0
        for entry in sorted(self.lapsed):
            if entry not in self.owner:
                continue  # another of its job's entries has just failed it
            lost_entries += 1
            lost = self._lost(entry)
            lost.strikes += lost.suspect
            lost.all += 1
            lost.on_device += entry in self.marked
            self._unlease(entry)
            if lost.strikes >= STRIKES:
                self._end(self.jobs[split_entry(entry)[0]], JobStatus.FAILED)
        return lost_entries

    def _members(self, key: Key, tail: str = "") -> set[str]:
        members: list[bytes] = self.bench.redis.zrange(name(key, tail), 0, -1)  # type: ignore[assignment]
        return {member.decode() for member in members}

    def _fields(self, key: str) -> set[str]:
        fields: list[bytes] = self.bench.redis.hkeys(key)  # type: ignore[assignment]
        return {each.decode() for each in fields}


@pytest.fixture
def machine(empty_redis: redis.Redis, redis_url: str) -> Iterator[type[LedgerMachine]]:
    with connect(redis_url) as client:
        LedgerMachine.bench = Bench(empty_redis, Ledger(client))
        yield LedgerMachine


@pytest.mark.timeout(300)
def test_the_scripts_do_what_the_model_says(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )
