"""The ledger's scripts on a real Redis: preconditions, postconditions, races, replays."""

from __future__ import annotations

import pytest
import redis

from rerankq.errors import LaterVersion
from rerankq.ledger import calls, keys, verbs
from rerankq.ledger.calls import Committed
from rerankq.ledger.codec import VERSION, ShardInput
from rerankq.ledger.keys import Key, Part, name
from rerankq.schema import Problem
from rerankq.status import ALLOWED, JobStatus, Lane
from tests.integration.bench import LEASE_MS, TTL_MS, Bench, holder


def test_a_job_from_commit_to_succeeded(bench: Bench) -> None:
    job_id = bench.commit(shards=3).about
    assert bench.job(job_id).status is JobStatus.QUEUED
    assert bench.redis.zcard(name(Key.PENDING, Lane.INTERACTIVE)) == 3
    taken = bench.take()
    assert [item.entry for item in taken] == [f"{job_id}:{k}" for k in range(3)]
    assert ShardInput.decode(taken[1].input or b"").first == 1
    assert bench.job(job_id).status is JobStatus.RUNNING
    for item in taken:
        assert bench.complete(item.entry)
    job = bench.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (job.scored, job.tokens, job.revision) == (3, 21, "rev")
    assert bench.redis.hlen(name(Key.JOB, job_id + Part.OUTPUT)) == 3
    bench.assert_empty()


def test_a_final_job_is_forgotten_after_its_time(bench: Bench) -> None:
    job_id = bench.commit().about
    assert bench.redis.ttl(name(Key.JOB, job_id)) == -1
    bench.complete(bench.take()[0].entry)
    for part in ("", Part.OUTPUT):
        assert 0 < bench.redis.pttl(name(Key.JOB, job_id + part)) <= TTL_MS
    job = bench.job(job_id)
    assert job.retained is not None
    assert job.finished is not None
    assert job.retained - job.finished == TTL_MS


def test_commit_answers(bench: Bench) -> None:
    first = bench.commit("job_a", idempotency=("key", "body"))
    assert first == Committed("created", "job_a")
    assert bench.commit("job_a") == Committed("existing", "job_a")
    assert bench.commit("job_b", idempotency=("key", "body")) == Committed("existing", "job_a")
    assert bench.commit("job_c", idempotency=("key", "other")) == Committed("conflict", "job_a")
    assert bench.commit("job_d", shards=2, staged=1).outcome == "unstaged"
    assert bench.commit("job_e", shards=2, max_backlog=2).outcome == "full"
    assert not bench.redis.keys(name(Key.STAGE, "job_[bce]*"))
    assert bench.redis.zcard(name(Key.PENDING, Lane.INTERACTIVE)) == 1


def test_a_job_larger_than_the_backlog_limit_runs_alone(bench: Bench) -> None:
    assert bench.commit(shards=5, max_backlog=2).outcome == "created"
    assert bench.commit(shards=1, max_backlog=2).outcome == "full"
    assert bench.commit(shards=1, max_backlog=2, lane=Lane.BULK).outcome == "created"


def test_an_idempotency_key_outlives_its_job_only_as_a_name(bench: Bench) -> None:
    bench.commit("job_a", idempotency=("key", "body"))
    bench.redis.delete(name(Key.JOB, "job_a"))
    assert bench.commit("job_b", idempotency=("key", "other")).outcome == "created"


def test_staged_inputs_that_never_commit_are_forgotten_and_committed_ones_are_not(
    bench: Bench,
) -> None:
    staged = name(Key.STAGE, "job_a" + Part.INPUT)
    bench.stage("job_a", 1)
    bench.redis.pexpire(staged, keys.STAGED_TTL_MS)
    bench.commit("job_a")
    assert not bench.redis.exists(staged)
    assert bench.redis.ttl(name(Key.JOB, "job_a" + Part.INPUT)) == -1


def test_committing_an_id_again_leaves_the_job_alone(bench: Bench) -> None:
    """A task that is sent twice, the second time cut otherwise, while the first one runs."""
    bench.commit("job_a", shards=3)
    first = bench.take(most=1)[0]
    assert bench.complete(first.entry)
    assert bench.commit("job_a", shards=2) == Committed("existing", "job_a")
    assert not bench.redis.exists(name(Key.STAGE, "job_a" + Part.INPUT))
    assert bench.redis.ttl(name(Key.JOB, "job_a" + Part.INPUT)) == -1
    for item in bench.take():
        assert bench.complete(item.entry)
    assert bench.job("job_a").status is JobStatus.SUCCEEDED
    assert bench.commit("job_a", shards=1).outcome == "existing"
    bench.assert_empty()


def test_a_delayed_job_opens_when_its_time_has_come(bench: Bench) -> None:
    job_id = bench.commit(shards=3, delay_ms=60_000).about
    assert bench.take() == []
    assert bench.redis.zcard(name(Key.PENDING, Lane.INTERACTIVE)) == 0
    bench.redis.zadd(name(Key.SCHEDULED), {job_id: 1})
    bench.reap()
    assert len(bench.take()) == 3
    waiting = bench.commit(shards=2, delay_ms=60_000).about
    bench.finish(waiting, JobStatus.CANCELLED)
    bench.finish(job_id, JobStatus.CANCELLED)
    bench.assert_empty()


def test_nothing_is_taken_twice(bench: Bench) -> None:
    bench.commit(shards=10)
    first, second = bench.take("a", most=6), bench.take("b")
    assert len(first) == 6
    assert len(second) == 4
    assert not {item.entry for item in first} & {item.entry for item in second}


def test_a_big_job_shares_with_small_ones_that_come_later(bench: Bench) -> None:
    big = bench.commit(shards=100, stride=1000).about
    bench.take(most=1)
    small = bench.commit().about
    order = [item.job_id for item in bench.take(most=4)]
    assert order.index(small) <= 1
    assert set(order) == {small, big}


def test_room_bounds_what_is_taken(bench: Bench) -> None:
    bench.commit(shards=10)
    assert len(bench.take(room=250)) == 3  # while any is left; the last may go over
    assert len(bench.take(room=0)) == 0
    assert len(bench.take(room=-50)) == 0


def test_bulk_leaves_room_to_interactive_work(bench: Bench) -> None:
    bench.commit(shards=10, lane=Lane.BULK)
    assert len(bench.take(room=300, bulk_room=250)) == 2
    assert len(bench.take(room=50, bulk_room=0)) == 0
    bench.commit(shards=1)
    assert [t.lane for t in bench.take(room=50, bulk_room=0)] == [Lane.INTERACTIVE]


def test_bulk_gets_its_turn_and_an_idle_worker_takes_anything(bench: Bench) -> None:
    bench.commit(shards=10, lane=Lane.BULK)
    bench.commit(shards=10)
    lanes = [t.lane for t in bench.take(room=150, bulk_room=0, bulk_turn=True)]
    assert lanes == [Lane.BULK, Lane.INTERACTIVE]
    bench.take(room=10_000, bulk_room=0)
    assert [t.lane for t in bench.take(room=1, bulk_room=0, idle=True)] == [Lane.BULK]


def test_take_says_whether_bulk_waits_and_for_how_long_it_did(bench: Bench) -> None:
    bench.commit(shards=2, lane=Lane.BULK)
    options = {"room": 150, "bulk_room": 150, "bulk_turn": False, "idle": False}
    answer = bench.ledger.run(calls.take(holder("w"), most=9, **options))  # type: ignore[arg-type]
    assert (answer.bulk_waits, answer.left, len(answer.entries)) == (True, True, 1)
    assert 0 <= answer.entries[0].waited_ms < 10_000
    bench.commit(shards=1)
    options = {"room": 50, "bulk_room": -50, "bulk_turn": False, "idle": False}
    answer = bench.ledger.run(calls.take(holder("w"), most=9, **options))  # type: ignore[arg-type]
    assert (answer.bulk_waits, answer.left, len(answer.entries)) == (True, True, 1)
    bench.commit(shards=2)
    bench.ledger.run(verbs.pause(Lane.BULK, paused=True))
    options = {"room": 50, "bulk_room": 50, "bulk_turn": False, "idle": False}
    answer = bench.ledger.run(calls.take(holder("w"), most=9, **options))  # type: ignore[arg-type]
    assert (answer.bulk_waits, answer.left, len(answer.entries)) == (False, True, 1)
    answer = bench.ledger.run(calls.take(holder("w"), most=9, **options))  # type: ignore[arg-type]
    assert (answer.bulk_waits, answer.left, len(answer.entries)) == (False, False, 1)


def test_a_record_of_a_later_version_is_left_to_those_who_know_it(bench: Bench) -> None:
    later = [bench.commit(version=VERSION + 1).about for _ in range(150)]
    ours = [bench.commit().about for _ in range(3)]
    assert [t.job_id for t in bench.take(most=64)] == ours
    assert bench.redis.hget(name(Key.JOB, later[0]), "status") == b"queued"
    with pytest.raises(LaterVersion):
        bench.job(later[0])


def test_completing_twice_counts_once(bench: Bench) -> None:
    job_id = bench.commit(shards=2).about
    first = bench.take(most=1)[0].entry
    assert bench.complete(first)
    assert not bench.complete(first)
    assert bench.job(job_id).scored == 1
    assert bench.job(job_id).status is JobStatus.RUNNING


def test_a_late_holder_counts_if_it_is_first(bench: Bench) -> None:
    job_id = bench.commit().about
    entry = bench.take("slow")[0].entry
    bench.lapse(entry)
    assert bench.reap() == (1, 0)
    assert bench.take("fast")[0].entry == entry
    assert bench.complete(entry)  # by the slow one
    assert not bench.complete(entry)  # by the fast one
    assert bench.job(job_id).scored == 1
    bench.assert_empty()


def test_a_lapsed_lease_goes_back_to_its_old_place_and_counts_as_a_loss(bench: Bench) -> None:
    bench.commit(shards=2, stride=5000)
    taken = bench.take("w")
    bench.ledger.run(calls.hold("w", LEASE_MS, [taken[0].entry], mark=True))
    bench.lapse(*(t.entry for t in taken))
    assert bench.reap() == (2, 0)
    again = bench.take("v")
    assert [(t.entry, t.fair_score) for t in again] == [(t.entry, t.fair_score) for t in taken]
    trouble = bench.redis.hgetall(name(Key.TROUBLE))
    assert trouble == {taken[0].entry.encode(): b"1 1 0", taken[1].entry.encode(): b"1 0 0"}


def test_after_a_long_sleep_nobody_s_lease_lapses(bench: Bench) -> None:
    bench.commit()
    entry = bench.take()[0].entry
    bench.lapse(entry)
    now = int(bench.redis.time()[0]) * 1000  # type: ignore[index]
    bench.redis.set(name(Key.TICK), now - keys.TICK_STALE_MS - 2000)
    assert bench.reap() == (0, 0)
    deadline = bench.redis.zscore(name(Key.LEASE), entry)
    assert deadline is not None
    assert deadline >= now + LEASE_MS - 1000
    assert bench.reap() == (0, 0)


def test_a_held_lease_is_renewed_and_a_lost_one_is_told(bench: Bench) -> None:
    job_id = bench.commit(shards=3).about
    mine = [t.entry for t in bench.take("me", most=1)]
    other = [t.entry for t in bench.take("other", most=1)]
    bench.lapse(*mine)
    gone = bench.ledger.run(calls.hold("me", LEASE_MS, [*mine, *other], mark=False))
    assert gone == set(other)
    assert bench.reap() == (0, 0)
    bench.finish(job_id, JobStatus.CANCELLED)
    assert bench.ledger.run(calls.hold("me", LEASE_MS, mine, mark=True)) == set(mine)


def test_release_hands_back_without_a_loss(bench: Bench) -> None:
    bench.commit(shards=2)
    taken = bench.take("w")
    entries = [t.entry for t in taken]
    assert bench.ledger.run(calls.release("someone else", entries)) == 0
    assert bench.ledger.run(calls.release("w", entries)) == 2
    assert [t.fair_score for t in bench.take("v")] == [t.fair_score for t in taken]
    assert not bench.redis.exists(name(Key.TROUBLE))


def test_cancelling_frees_everything_at_once(bench: Bench) -> None:
    job_id = bench.commit(shards=4).about
    held = bench.take(most=2)
    bench.complete(held[0].entry)
    assert bench.finish(job_id, JobStatus.CANCELLED)
    bench.assert_empty()
    assert not bench.complete(held[1].entry)
    assert bench.ledger.run(calls.release("w", [held[1].entry])) == 0
    assert bench.take() == []
    assert bench.job(job_id).status is JobStatus.CANCELLED
    assert bench.job(job_id).scored == 1


def test_a_deadline_ends_a_job_wherever_it_is(bench: Bench) -> None:
    waiting = bench.commit(expires_in_ms=0).about
    running = bench.commit(expires_in_ms=0).about
    bench.take(most=1)
    assert bench.reap() == (0, 2)
    for job_id in (waiting, running):
        job = bench.job(job_id)
        assert job.status is JobStatus.EXPIRED
        assert job.error is not None
        assert job.error.code == "expired"
    bench.assert_empty()


def test_many_overdue_jobs_are_ended_a_few_at_a_time(bench: Bench) -> None:
    """All at once they would hold Redis for seconds."""
    for _ in range(5):
        bench.commit(shards=keys.MAX_ENTRIES, max_backlog=10**6, expires_in_ms=0)
    assert [bench.reap() for _ in range(6)] == [(0, 1)] * 5 + [(0, 0)]
    bench.assert_empty()


def test_workers_hear_of_a_job_that_ends_with_entries_open(bench: Bench) -> None:
    with bench.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(name(Key.GONE))
        subscription.get_message(timeout=1)
        done, withdrawn = bench.commit().about, bench.commit(shards=2).about
        for item in bench.take():
            if item.job_id == done:
                bench.complete(item.entry)
        bench.finish(withdrawn, JobStatus.CANCELLED)
        message = subscription.get_message(timeout=5)
        assert message is not None
        assert message["data"].decode() == withdrawn
        assert subscription.get_message(timeout=0.1) is None


def test_a_failed_job_keeps_its_problem(bench: Bench) -> None:
    job_id = bench.commit().about
    problem = Problem(title="t", status=422, code="query_too_long", detail="d", limit=5)
    bench.ledger.run(calls.finish(job_id, JobStatus.FAILED, problem))
    assert bench.job(job_id).error == problem


def reach(bench: Bench, status: JobStatus) -> str:
    job_id = bench.commit().about
    if status is JobStatus.QUEUED:
        return job_id
    entry = bench.take()[0].entry
    if status is JobStatus.SUCCEEDED:
        bench.complete(entry)
    elif status.final:
        bench.finish(job_id, status)
    return job_id


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize(
    "wanted", [s for s in JobStatus if s.final and s is not JobStatus.SUCCEEDED]
)
def test_every_change_of_state_is_the_table_s(
    bench: Bench, status: JobStatus, wanted: JobStatus
) -> None:
    job_id = reach(bench, status)
    assert bench.job(job_id).status is status
    changed = bench.finish(job_id, wanted)
    assert changed == (wanted in ALLOWED[status])
    assert bench.job(job_id).status is (wanted if changed else status)
    bench.assert_empty()


def test_the_end_is_published_once_and_counted(bench: Bench) -> None:
    with bench.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(name(Key.DONE))
        subscription.get_message(timeout=1)
        job_id = bench.commit().about
        bench.complete(bench.take()[0].entry)
        bench.finish(job_id, JobStatus.CANCELLED)
        message = subscription.get_message(timeout=5)
        assert message is not None
        assert message["data"].decode().split()[:3] == [job_id, "succeeded", "interactive"]
        assert subscription.get_message(timeout=0.1) is None
    counts = bench.redis.hgetall(name(Key.COUNTS))
    assert counts == {
        b"queued interactive": b"1",
        b"running interactive": b"1",
        b"succeeded interactive": b"1",
    }


def test_failures_are_counted_by_the_code_of_their_error(bench: Bench) -> None:
    for problem in (calls.POISON, calls.POISON, calls.EXPIRED):
        job_id = bench.commit().about
        bench.finish(job_id, JobStatus.FAILED, problem)
        bench.finish(job_id, JobStatus.FAILED, problem)  # it was final
    bench.finish(bench.commit().about, JobStatus.CANCELLED)
    counted = bench.redis.hgetall(name(Key.FAILURES))
    assert counted == {b"worker_lost": b"2", b"expired": b"1"}


def test_calls_survive_a_redis_that_forgot_the_scripts(bench: Bench) -> None:
    bench.commit()
    bench.redis.script_flush()
    assert len(bench.take()) == 1


def test_the_largest_job_commits_whole(bench: Bench) -> None:
    assert bench.commit(shards=keys.MAX_ENTRIES, max_backlog=10**6).outcome == "created"
    assert bench.redis.zcard(name(Key.READY, Lane.INTERACTIVE)) == keys.MAX_ENTRIES
    job_id = bench.commit(max_backlog=10**6).about
    for record in (job_id, "job_0000"):
        bench.finish(record, JobStatus.CANCELLED)
    bench.assert_empty()


def test_a_full_redis_takes_nothing_new_and_goes_on_with_what_it_has(bench: Bench) -> None:
    job_id = bench.commit(shards=3).about
    overdue = bench.commit(expires_in_ms=0).about
    entry, lost = (t.entry for t in bench.take(most=2))
    bench.lapse(lost)
    bench.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.OutOfMemoryError):
            bench.commit()
        assert bench.ledger.run(calls.hold("w", LEASE_MS, [entry], mark=True)) == set()
        assert bench.reap() == (1, 1)
        assert bench.complete(entry)
        for item in bench.take():
            assert bench.ledger.run(calls.release("w", [item.entry])) == 1
        for item in bench.take():
            assert bench.complete(item.entry)
    finally:
        bench.redis.config_set("maxmemory", "1gb")
    assert bench.job(overdue).status is JobStatus.EXPIRED
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
