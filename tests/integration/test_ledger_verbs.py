"""What operators, and synchronous requests that join one another, do to the ledger."""

from __future__ import annotations

import pytest

from rerankq.ledger import calls, keys, verbs
from rerankq.ledger.calls import Committed
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.verbs import Purged, Retried
from rerankq.schema import Problem
from rerankq.status import JobStatus, Lane
from tests.integration.bench import TTL_MS, Bench, holder

KEY = ("the request", "its body")


def retry(bench: Bench, job_id: str, new_id: str, max_backlog: int = 1000) -> Retried:
    return bench.ledger.run(verbs.retry(job_id, new_id, max_backlog))


def test_a_retry_is_a_new_job_for_what_was_not_scored(bench: Bench) -> None:
    bench.commit("job_a", shards=3, lane=Lane.BULK, expires_in_ms=50_000)
    taken = bench.take()
    assert bench.complete(taken[1].entry)
    assert retry(bench, "job_a", "job_b") == Retried("not_failed", "running")
    bench.finish("job_a", JobStatus.FAILED)
    assert 0 < bench.redis.pttl(name(Key.JOB, "job_a" + Part.KEPT)) <= TTL_MS  # type: ignore[operator]
    assert retry(bench, "job_a", "job_b") == Retried("created", "job_b")
    assert retry(bench, "job_a", "job_c") == Retried("existing", "job_b")
    old, new = bench.job("job_a"), bench.job("job_b")
    assert old.status is JobStatus.FAILED
    assert (new.status, new.scored, new.lane) == (JobStatus.QUEUED, 1, Lane.BULK)
    assert (new.started, new.finished, new.retained, new.error) == (None, None, None, None)
    assert new.deadline - new.created == 50_000
    assert [job.entry for job in bench.take()] == ["job_b:0", "job_b:2"]
    assert bench.complete("job_b:0")
    assert bench.complete("job_b:2")
    assert bench.job("job_b").status is JobStatus.SUCCEEDED
    assert bench.redis.hlen(name(Key.JOB, "job_b" + Part.OUTPUT)) == 3
    assert bench.redis.zscore(name(Key.JOBS), "job_b") is not None
    bench.assert_empty()


def test_a_retry_of_a_poisonous_job_starts_without_its_losses(bench: Bench) -> None:
    bench.commit("job_a")
    for _ in range(2):
        (item,) = bench.take()
        bench.ledger.run(calls.hold("w", 1000, [item.entry], mark=True))
        bench.lapse(item.entry)
        bench.reap()
    for _ in range(2):
        (item,) = bench.ledger.run(calls.take_alone(holder("w"))).entries
        bench.lapse(item.entry)
        bench.reap()
    failed = bench.job("job_a")
    assert failed.error is not None
    assert failed.error.code == "worker_lost"
    assert retry(bench, "job_a", "job_b").outcome == "created"
    assert [item.entry for item in bench.take()] == ["job_b:0"]


def test_a_retry_that_cannot_be(bench: Bench) -> None:
    assert retry(bench, "job_x", "job_b") == Retried("unknown", "")
    bench.commit("job_a", shards=2)
    bench.finish("job_a", JobStatus.FAILED)
    bench.commit("job_c")
    assert retry(bench, "job_a", "job_b", max_backlog=2) == Retried("full", "1")
    bench.redis.delete(name(Key.JOB, "job_a" + Part.KEPT))
    assert retry(bench, "job_a", "job_b") == Retried("gone", "job_a")
    assert not bench.redis.keys(name(Key.JOB, "job_b*"))


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.EXPIRED])
def test_only_what_failed_is_kept(bench: Bench, status: JobStatus) -> None:
    bench.commit("job_a")
    bench.finish("job_a", status)
    assert retry(bench, "job_a", "job_b") == Retried("not_failed", status)
    assert not bench.redis.keys(f"{keys.ROOT}job:job_a{Part.KEPT}")


@pytest.mark.parametrize(("status", "outcome"), [(422, "gone"), (500, "created")])
def test_what_a_retry_would_only_repeat_is_not_kept(
    bench: Bench, status: int, outcome: str
) -> None:
    bench.commit("job_a", shards=2)
    problem = Problem(title="t", status=status, code="c", detail="d")
    assert bench.finish("job_a", JobStatus.FAILED, problem)
    assert retry(bench, "job_a", "job_b").outcome == outcome


def test_nothing_of_a_paused_lane_is_taken(bench: Bench) -> None:
    bench.commit("job_a", lane=Lane.BULK)
    bench.commit("job_b")
    bench.ledger.run(verbs.pause(Lane.BULK, paused=True))
    call = calls.take(holder("w"), most=9, room=9, bulk_room=9, bulk_turn=True, idle=True)
    answer = bench.ledger.run(call)
    assert [item.entry for item in answer.entries] == ["job_b:0"]
    assert not answer.bulk_waits, "interactive work would leave room to what may not be taken"
    bench.ledger.run(verbs.pause(Lane.BULK, paused=False))
    assert [item.entry for item in bench.take()] == ["job_a:0"]


def test_a_suspect_of_a_paused_lane_calls_nobody(bench: Bench) -> None:
    bench.commit("job_a")
    bench.redis.zadd(name(Key.SUSPECTS), {"job_a:0": 1})
    bench.ledger.run(verbs.pause(Lane.INTERACTIVE, paused=True))
    call = calls.take(holder("w"), most=9, room=9, bulk_room=9, bulk_turn=False, idle=True)
    assert not bench.ledger.run(call).called
    bench.ledger.run(verbs.pause(Lane.INTERACTIVE, paused=False))
    assert bench.ledger.run(call).called


def test_a_purge_cancels_the_lane_in_bounded_steps(bench: Bench) -> None:
    for number in range(3):
        bench.commit(f"job_{number}", shards=1000, lane=Lane.BULK, max_backlog=9000)
    bench.commit("job_other")
    before_ms = bench.redis.time()[0] * 1000 + 1000  # type: ignore[index]
    assert bench.ledger.run(verbs.purge(Lane.BULK, 1)) == Purged(0, False)
    assert bench.ledger.run(verbs.purge(Lane.BULK, before_ms)) == Purged(2, True)
    assert bench.ledger.run(verbs.purge(Lane.BULK, before_ms)) == Purged(1, False)
    assert bench.job("job_1").status is JobStatus.CANCELLED
    assert bench.job("job_other").status is JobStatus.QUEUED
    assert bench.redis.zcard(name(Key.PENDING, Lane.BULK)) == 0


def test_a_purge_ends_also_with_an_entry_whose_job_is_gone(bench: Bench) -> None:
    bench.redis.zadd(name(Key.PENDING, Lane.BULK), {"job_gone:0": 1})
    assert bench.ledger.run(verbs.purge(Lane.BULK, 1000)) == Purged(0, False)
    assert bench.redis.zcard(name(Key.PENDING, Lane.BULK)) == 0


def test_equal_synchronous_requests_join_until_the_last_has_gone(bench: Bench) -> None:
    join = {"idempotency": KEY, "join_ms": 5_000}
    assert bench.commit("job_a", **join) == Committed("created", "job_a")  # type: ignore[arg-type]
    assert bench.commit("job_b", **join) == Committed("existing", "job_a")  # type: ignore[arg-type]
    assert bench.ledger.run(calls.leave("job_a", "job_b", cancel=True)) == 1
    assert bench.ledger.run(calls.leave("job_a", "job_b", cancel=True)) == 1, "a replay counts none"
    assert bench.ledger.run(calls.leave("job_a", "job_a", cancel=False)) == 0
    assert bench.job("job_a").status is JobStatus.QUEUED
    assert bench.ledger.run(calls.leave("job_a", "job_a", cancel=True)) == 0
    assert bench.job("job_a").status is JobStatus.CANCELLED
    assert not bench.redis.exists(name(Key.JOB, "job_a" + Part.WATCH))
    bench.assert_empty()


def test_the_last_of_those_that_have_gone_has_its_time_to_come_back(bench: Bench) -> None:
    join = {"idempotency": KEY, "join_ms": 5_000}
    for watcher in ("job_a", "job_b", "job_c"):
        bench.commit(watcher, **join)  # type: ignore[arg-type]
    for watcher in ("job_a", "job_b"):
        bench.ledger.run(calls.leave("job_a", watcher, cancel=False))
    bench.ledger.run(calls.leave("job_a", "job_c", cancel=False))
    assert bench.ledger.run(calls.leave("job_a", "job_a", cancel=True)) == 0
    assert bench.job("job_a").status is JobStatus.QUEUED, "another one has gone since"
    assert bench.commit("job_d", **join) == Committed("existing", "job_a")  # type: ignore[arg-type]
    bench.ledger.run(calls.leave("job_a", "job_c", cancel=True))
    assert bench.job("job_a").status is JobStatus.QUEUED, "one has come back"
    bench.ledger.run(calls.leave("job_a", "job_d", cancel=True))
    assert bench.job("job_a").status is JobStatus.CANCELLED, "it waited until it gave up"
    bench.ledger.run(calls.leave("job_x", "job_d", cancel=False))
    assert not bench.redis.exists(name(Key.JOB, "job_x")), "nothing is made of an unknown one"
    bench.assert_empty()


def test_whom_a_synchronous_request_joins(bench: Bench) -> None:
    join = {"idempotency": KEY, "join_ms": 5_000}
    bench.commit("job_a", **join)  # type: ignore[arg-type]
    assert 0 < bench.redis.pttl(name(Key.IDEM, KEY[0])) <= 5_000  # type: ignore[operator]
    bench.take()
    bench.complete("job_a:0")
    assert bench.commit("job_b", **join).about == "job_a", "what is done is an answer"  # type: ignore[arg-type]
    bench.redis.delete(name(Key.IDEM, KEY[0]))
    bench.commit("job_c", **join)  # type: ignore[arg-type]
    bench.finish("job_c", JobStatus.CANCELLED)
    assert bench.commit("job_d", **join) == Committed("created", "job_d")  # type: ignore[arg-type]
