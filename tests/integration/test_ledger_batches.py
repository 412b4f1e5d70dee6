"""A batch: planned, fed a window at a time, scored, merged; stopped with what was scored."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rerankq.bulk.chunks import Chunk
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger import batches, calls, keys
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.batches import Planned, ScoredPart
from rerankq.ledger.calls import POISON, Taken
from rerankq.ledger.keys import Key, Part, name
from rerankq.status import CHUNKS, JobStatus, Lane
from tests.integration.bench import STRIKES, TTL_MS, Bench

SPEC = BatchSpec(
    input="/in.jsonl",
    input_format="jsonl",
    version="1",
    output="/out.jsonl",
    output_format="jsonl",
    errors="/out.errors.jsonl",
    work="/out.parts",
)


def enlist(
    bench: Bench,
    *,
    output: str | None = None,
    expires_in_ms: int = 60_000,
    idempotency: tuple[str, str] | None = None,
) -> calls.Committed:
    fields = batches.header(SPEC, model="m", owner="o", result_ttl_ms=TTL_MS, about={"a": "b"})
    batch_id = batches.new_batch_id()
    call = batches.enlist(
        batch_id,
        fields,
        output=output or f"/{batch_id}.jsonl",
        owner="o",
        expires_in_ms=expires_in_ms,
        idempotency=idempotency,
    )
    return bench.ledger.run(call)


def take(bench: Bench, chunks: int = 1, worker: str = "w") -> list[Taken]:
    return [item for item in bench.take(worker, chunks=chunks) if item.chunk]


def chunks(count: int) -> list[Chunk]:
    return [Chunk(k, k + 1, 1) for k in range(count)]


def plan(bench: Bench, count: int, *, stride_ms: int = 10) -> str:
    """The id of a batch that is planned."""
    batch_id = enlist(bench).about
    (item,) = take(bench)
    call = batches.planned(
        item.entry, 9, 0, chunks(count), last=True, chunk_tokens=5, stride_ms=stride_ms
    )
    assert bench.ledger.run(call).chunks == count
    return batch_id


def put_down(
    bench: Bench, entry: str, before: int, some: Sequence[Chunk], *, last: bool = False
) -> int | None:
    return bench.ledger.run(batches.planned(entry, 100, before, some, last=last)).chunks


def part(name: str = "p", pairs: int = 3, bad: int = 0) -> ScoredPart:
    return ScoredPart(name, lines=2, pairs=pairs, tokens=7, truncated=1, records=1, bad=bad)


def put(
    bench: Bench,
    entry: str,
    done: ScoredPart | None = None,
    most: int | None = None,
    lost: dict[str, int] | None = None,
) -> str:
    call = batches.part(
        entry, done or part(), max_errors=most, model="m", revision="rev", lost=lost
    )
    return bench.ledger.run(call)


def batch(bench: Bench, batch_id: str) -> BatchRecord:
    record = bench.ledger.batch(batch_id)
    assert record is not None
    return record


def test_a_batch_from_its_plan_to_its_merge(bench: Bench) -> None:
    batch_id = enlist(bench).about
    assert batch(bench, batch_id).phase == "validating"
    (item,) = take(bench)
    assert (item.input, BatchSpec.model_validate_json(item.context)) == (b"plan", SPEC)
    put_down(bench, item.entry, 0, chunks(2), last=True)
    assert batch(bench, batch_id).phase == "in_progress"
    taken = take(bench, 5)
    assert [Chunk.decode((one.input or b"").decode()) for one in taken] == chunks(2)
    for one in reversed(taken):
        assert put(bench, one.entry, part(one.entry)) == "stored"
    record = batch(bench, batch_id)
    assert (record.phase, record.chunks, record.done) == ("finalizing", 2, 2)
    (merge,) = take(bench)
    assert merge.input == b"merge"
    assert bench.ledger.parts(batch_id) == [(k, part(f"{batch_id}:{k}")) for k in (1, 2)]
    assert bench.ledger.run(batches.merged(merge.entry, errors=False)) == "stored"
    record = batch(bench, batch_id)
    assert (record.phase, record.pairs, record.tokens, record.records) == ("completed", 6, 14, 2)
    assert (record.output, record.errors, record.about) == (True, False, {"a": "b"})
    bench.assert_empty()
    assert 0 < bench.redis.pttl(name(Key.JOB, batch_id)) <= TTL_MS


def test_only_so_many_chunks_are_open_and_each_part_opens_another(bench: Bench) -> None:
    count = keys.CHUNKS_OPEN + 3
    batch_id = plan(bench, count)
    assert bench.redis.zcard(name(Key.PENDING, CHUNKS)) == keys.CHUNKS_OPEN
    seen = []
    while batch(bench, batch_id).phase == "in_progress":
        (item,) = take(bench)
        seen.append(item.entry)
        put(bench, item.entry)
        assert bench.redis.zcard(name(Key.PENDING, CHUNKS)) <= keys.CHUNKS_OPEN
    assert seen == [f"{batch_id}:{k}" for k in range(1, count + 1)]


def test_a_plan_is_put_down_in_slices_by_whoever_plans(bench: Bench) -> None:
    batch_id = enlist(bench).about
    (item,) = take(bench)
    assert bench.ledger.run(batches.planned(item.entry, 100)) == Planned(0, 100)
    four = chunks(4)
    assert put_down(bench, item.entry, 0, four[:2]) == 2
    bench.lapse(item.entry)
    bench.reap()
    (again,) = take(bench, worker="v")
    assert again.entry == item.entry
    # The new one cuts as the old one did and begins at the start, the old one goes on: each chunk
    # is there once.
    assert bench.ledger.run(batches.planned(item.entry, 50)) == Planned(2, 100)
    assert put_down(bench, item.entry, 0, four[:2]) == 2
    assert put_down(bench, item.entry, 2, four[2:], last=True) == 4
    assert put_down(bench, item.entry, 2, four[2:], last=True) is None
    assert batch(bench, batch_id).chunks == 4
    assert len(take(bench, 10)) == 4


def test_an_empty_input_is_merged_at_once(bench: Bench) -> None:
    batch_id = plan(bench, 0)
    assert batch(bench, batch_id).phase == "finalizing"
    assert [item.input for item in take(bench)] == [b"merge"]


def test_two_batches_take_turns_however_long_one_has_been_at_it(bench: Bench) -> None:
    first = plan(bench, 100, stride_ms=1000)
    for item in take(bench, 50):
        put(bench, item.entry)
    second = plan(bench, 100, stride_ms=1000)
    served = [item.job_id for item in take(bench, 60)]
    assert abs(served.count(first) - served.count(second)) <= 2
    assert abs(served[:20].count(first) - served[:20].count(second)) <= 2


def test_what_is_handed_back_is_served_before_other_chunks(bench: Bench) -> None:
    plan(bench, 20)
    one, *_ = take(bench, 3)
    bench.ledger.run(calls.release("w", [one.entry]))
    assert [item.entry for item in take(bench)] == [one.entry]


def test_a_part_counts_once_whoever_brings_it(bench: Bench) -> None:
    batch_id = plan(bench, 2)
    (item,) = take(bench)
    bench.lapse(item.entry)
    bench.reap()
    (other,) = take(bench, worker="v")
    assert other.entry == item.entry
    assert put(bench, item.entry, part("late")) == "stored"
    assert put(bench, item.entry, part("later")) == "gone"
    assert batch(bench, batch_id).pairs == 3
    assert bench.ledger.parts(batch_id) == [(1, part("late"))]


def test_chunks_are_taken_by_number_beside_other_work_and_never_instead(bench: Bench) -> None:
    plan(bench, 10)
    bench.commit("job_1", shards=2, lane=Lane.BULK)
    assert [item.chunk for item in bench.take()] == [False, False]
    assert [item.chunk for item in bench.take(chunks=3, room=0, bulk_room=0)] == [True] * 3


def test_paused_bulk_work_pauses_batches(bench: Bench) -> None:
    plan(bench, 1)
    bench.redis.sadd(name(Key.PAUSED), Lane.BULK)
    assert not take(bench)
    bench.redis.srem(name(Key.PAUSED), Lane.BULK)
    assert take(bench)


def test_a_cancelled_batch_is_merged_first(bench: Bench) -> None:
    batch_id = plan(bench, 5)
    one, two = take(bench, 2)
    put(bench, one.entry)
    assert bench.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
    assert not bench.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
    assert batch(bench, batch_id).phase == "cancelling"
    held = bench.ledger.run(calls.hold("w", 1000, [two.entry], mark=False))
    assert held == {two.entry}
    assert put(bench, two.entry) == "gone"
    (merge,) = take(bench)
    assert merge.input == b"merge"
    bench.ledger.run(batches.merged(merge.entry, errors=False))
    record = batch(bench, batch_id)
    assert (record.phase, record.pairs, record.output) == ("cancelled", 3, True)
    bench.assert_empty()
    assert not bench.redis.exists(name(Key.JOB, batch_id + Part.PLAN))


def test_cancelled_before_it_is_planned_it_is_over_at_once(bench: Bench) -> None:
    batch_id = enlist(bench).about
    (item,) = take(bench)
    put_down(bench, item.entry, 0, chunks(3))
    assert bench.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
    assert batch(bench, batch_id).phase == "cancelled"
    assert put_down(bench, item.entry, 3, chunks(1), last=True) is None
    bench.assert_empty()
    assert not bench.redis.exists(name(Key.JOB, batch_id + Part.PLAN))


def test_an_overdue_batch_is_merged_and_has_a_day_for_it(bench: Bench) -> None:
    batch_id = plan(bench, 5)
    (one,) = take(bench)
    put(bench, one.entry)
    for _ in range(2):
        bench.redis.zadd(name(Key.DEADLINES), {batch_id: 1})
        bench.reap()
        if batch(bench, batch_id).final:
            break
        assert batch(bench, batch_id).phase == "finalizing"
    record = batch(bench, batch_id)
    assert (record.phase, record.error and record.error.code) == ("expired", "expired")
    bench.assert_empty()


def test_a_deadline_passed_while_all_is_merged_leaves_time_to_end(bench: Bench) -> None:
    batch_id = plan(bench, 1)
    (one,) = take(bench)
    put(bench, one.entry)
    bench.redis.zadd(name(Key.DEADLINES), {batch_id: 1})
    bench.reap()
    (merge,) = take(bench)
    bench.ledger.run(batches.merged(merge.entry, errors=False))
    assert batch(bench, batch_id).phase == "completed"


def test_more_bad_lines_than_it_bears_fail_it_with_what_was_scored(bench: Bench) -> None:
    batch_id = plan(bench, 5)
    one, two = take(bench, 2)
    put(bench, one.entry, part(bad=2), most=2)
    assert batch(bench, batch_id).phase == "in_progress"
    put(bench, two.entry, part(bad=1), most=2)
    (merge,) = take(bench)
    bench.ledger.run(batches.merged(merge.entry, errors=True))
    record = batch(bench, batch_id)
    assert (record.phase, record.errors, record.bad) == ("failed", True, 3)
    assert record.error is not None
    assert (record.error.code, record.error.limit) == ("too_many_errors", 2)


def kill(bench: Bench, entry: str, times: int) -> None:
    """Whoever has the entry, and takes it then, dies."""
    for _ in range(times):
        bench.lapse(entry)
        bench.reap()
        bench.ledger.run(calls.take_alone(calls.Holder("w", "m@rev/float32", 1000)))
        take(bench, 1)


def test_a_chunk_that_kills_its_workers_is_given_up_and_the_batch_goes_on(bench: Bench) -> None:
    batch_id = plan(bench, 1)
    (poison,) = take(bench)
    kill(bench, poison.entry, keys.SUSPECT_LOSSES + 2 * STRIKES - 1)
    assert bench.redis.hget(name(Key.JOB, batch_id) + Part.INPUT, "1") == b"0 1 1"
    kill(bench, poison.entry, 1)
    assert bench.redis.zcard(name(Key.SUSPECTS)) == 0  # it is not scored, so beside others
    again = bench.redis.hget(name(Key.JOB, batch_id) + Part.INPUT, "1")
    assert again == b"given-up 0 1 1"
    put(bench, poison.entry, part(bad=3), lost={"worker_lost": 2})
    put(bench, poison.entry, part(bad=3), lost={"worker_lost": 2})  # a replay
    assert bench.redis.hgetall(name(Key.LOST)) == {b"worker_lost": b"2"}
    assert not bench.redis.exists(name(Key.FAILURES))
    (merge,) = take(bench)
    bench.ledger.run(batches.merged(merge.entry, errors=True))
    assert batch(bench, batch_id).phase == "completed"


def test_a_chunk_that_cannot_even_be_read_fails_its_batch(bench: Bench) -> None:
    batch_id = plan(bench, 3)
    good, poison = take(bench, 2)
    put(bench, good.entry)
    for _ in range(2):
        assert batch(bench, batch_id).phase == "in_progress"
        kill(bench, poison.entry, keys.SUSPECT_LOSSES + 2 * STRIKES)
    bench.ledger.run(batches.merged(f"{batch_id}:4", errors=False))
    record = batch(bench, batch_id)
    assert (record.phase, record.error) == ("failed", POISON)
    assert record.pairs == 3


def test_the_same_key_finds_the_batch_unless_it_came_to_nothing(bench: Bench) -> None:
    first = enlist(bench, idempotency=("key", "body"))
    assert enlist(bench, idempotency=("key", "body")).outcome == "existing"
    assert enlist(bench, idempotency=("key", "other")).outcome == "conflict"
    bench.ledger.run(batches.stop(first.about, JobStatus.CANCELLED))
    assert enlist(bench, idempotency=("key", "body")).outcome == "created"


def test_an_output_is_one_batchs_until_it_is_final(bench: Bench) -> None:
    first = enlist(bench, output="/out")
    assert enlist(bench, output="/out/") == calls.Committed("output_taken", first.about)
    assert enlist(bench, output="/out.jsonl").outcome == "created"
    bench.ledger.run(batches.stop(first.about, JobStatus.CANCELLED))
    assert enlist(bench, output="/out").outcome == "created"


def test_an_output_is_its_batchs_for_as_long_as_that_may_be_merged(bench: Bench) -> None:
    enlist(bench, output="/out", expires_in_ms=60_000)
    (place,) = bench.redis.scan_iter(f"{name(Key.OUTPUT_OF)}*")
    kept_ms = bench.redis.pttl(place)
    assert kept_ms > keys.MERGE_MS + 50_000


def test_too_many_batches_at_once_are_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BATCHES", 1)
    plan(bench, 1000)
    assert enlist(bench).outcome == "full"


def test_a_batch_is_in_no_list_of_jobs(bench: Bench) -> None:
    batch_id = enlist(bench).about
    assert bench.redis.zrange(name(Key.JOBS, "o"), 0, -1) == []
    listed = bench.redis.zrange(name(Key.JOBS, batches.listed_as("o")), 0, -1)
    assert listed == [batch_id.encode()]


def test_who_waits_for_a_batch_is_told_of_its_end_and_of_no_job_s(bench: Bench) -> None:
    with bench.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.psubscribe(name(Key.ENDED, "*"))
        subscription.get_message(timeout=1)
        bench.finish(bench.commit().about, JobStatus.CANCELLED)
        batch_id = enlist(bench).about
        bench.ledger.run(batches.stop(batch_id, JobStatus.FAILED, at_once=True))
        message = subscription.get_message(timeout=5)
        assert message is not None
        assert message["channel"].decode() == name(Key.ENDED, batch_id)
        assert subscription.get_message(timeout=0.1) is None
