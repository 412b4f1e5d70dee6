"""Entries that are lost again and again: who is suspected, who runs alone, who fails."""

from __future__ import annotations

import pytest

from rerankq.ledger import calls, keys
from rerankq.ledger.calls import Take
from rerankq.ledger.keys import Key, name
from rerankq.status import JobStatus, Lane
from tests.integration.bench import LEASE_MS, STRIKES, Bench, holder


def lose(bench: Bench, entry: str, *, on_device: bool) -> None:
    """Whoever takes it dies with it."""
    assert entry in [item.entry for item in bench.take("w")]
    if on_device:
        bench.ledger.run(calls.hold("w", LEASE_MS, [entry], mark=True))
    bench.lapse(entry)
    bench.reap()


def alone(bench: Bench, worker: str = "w") -> list[str]:
    return [t.entry for t in bench.ledger.run(calls.take_alone(holder(worker))).entries]


def ask(bench: Bench, worker: str) -> Take:
    call = calls.take(
        holder(worker), most=9, room=10_000, bulk_room=10_000, bulk_turn=False, idle=True
    )
    return bench.ledger.run(call)


def test_what_an_idle_worker_takes_alone_can_be_marked_at_once(bench: Bench) -> None:
    job = bench.commit().about
    assert len(bench.take("w", mark=True)) == 1
    assert bench.redis.hgetall(name(Key.DEVICE)) == {f"{job}:0".encode(): b"w"}
    bench.commit(shards=2)
    assert len(bench.take("w", mark=True)) == 2
    assert bench.redis.hlen(name(Key.DEVICE)) == 1


def suspect(bench: Bench) -> str:
    entry = f"{bench.commit().about}:0"
    for _ in range(keys.SUSPECT_DEVICE_LOSSES):
        lose(bench, entry, on_device=True)
    return entry


@pytest.mark.parametrize(
    ("on_device", "losses"), [(True, keys.SUSPECT_DEVICE_LOSSES), (False, keys.SUSPECT_LOSSES)]
)
def test_losses_make_a_suspect_that_only_runs_alone(
    bench: Bench, on_device: bool, losses: int
) -> None:
    entry = f"{bench.commit().about}:0"
    for _ in range(losses - 1):
        lose(bench, entry, on_device=on_device)
        assert not bench.redis.exists(name(Key.SUSPECTS))
    lose(bench, entry, on_device=on_device)
    assert bench.take() == []
    assert alone(bench) == [entry]
    assert alone(bench) == []
    assert bench.complete(entry)
    bench.assert_empty()


def test_the_others_of_its_job_and_its_lane_pass_it(bench: Bench) -> None:
    entry = suspect(bench)
    job_id = bench.commit(shards=2).about
    others = [f"{job_id}:{k}" for k in range(2)]
    assert [item.entry for item in bench.take()] == others
    assert bench.redis.zscore(name(Key.READY, Lane.INTERACTIVE), entry) is not None


def test_one_worker_at_a_time_empties_itself_for_a_suspect(bench: Bench) -> None:
    first, second = suspect(bench), suspect(bench)
    bench.redis.delete(name(Key.SOLO))  # whoever made them suspects was called too, and died
    assert ask(bench, "a").called
    assert not ask(bench, "b").called
    assert alone(bench, "a") == [first]
    assert ask(bench, "b").called, "the first is on its way"
    assert alone(bench, "b") == [second]
    assert not ask(bench, "c").called


def test_a_suspect_that_was_handed_back_is_still_one(bench: Bench) -> None:
    entry = suspect(bench)
    assert alone(bench) == [entry]
    bench.ledger.run(calls.release("w", [entry]))
    assert bench.take() == []
    assert alone(bench) == [entry]


def test_losses_alone_fail_the_job_and_no_other(bench: Bench) -> None:
    entry = suspect(bench)
    innocent = bench.commit().about
    for strike in range(1, STRIKES + 1):
        assert bench.job(entry.split(":")[0]).status is JobStatus.RUNNING
        assert alone(bench) == [entry]
        bench.lapse(entry)
        assert bench.reap() == (1, 0), strike
    job = bench.job(entry.split(":")[0])
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "worker_lost"
    assert bench.complete(bench.take()[0].entry)
    assert bench.job(innocent).status is JobStatus.SUCCEEDED
    bench.assert_empty()


def test_a_job_is_scored_by_one_model_while_that_has_a_worker(bench: Bench) -> None:
    job_id = bench.commit(shards=3).about
    now = int(bench.redis.time()[0]) * 1000  # type: ignore[index]
    bench.redis.zadd(name(Key.MODELS), {"old": now, "new": now})
    old, new = ({"worker": model, "model": model} for model in ("old", "new"))
    assert len(bench.take(most=1, **old)) == 1
    assert bench.take(**new) == []
    assert len(bench.take(most=1, **old)) == 1
    bench.redis.zadd(name(Key.MODELS), {"old": now - keys.WORKER_TTL_MS - 2_000})
    assert len(bench.take(**new)) == 1, "or it would wait for ever"
    for k, revision in enumerate(("old", "old", "new")):
        bench.complete(f"{job_id}:{k}", revision)
    assert bench.job(job_id).revision == "old+new"
