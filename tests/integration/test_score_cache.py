"""Scores kept in Redis: right, for a while, and never in anybody's way."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from rerankq.ledger import calls, shards
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.records import header, new_job_id
from rerankq.ledger.sharding import Cut
from rerankq.schema import JobRequest
from rerankq.settings import Settings
from rerankq.status import JobStatus, Lane
from tests.conftest import eventually
from tests.held_engine import HeldEngine
from worker import bare, score_cache
from worker.engine.interface import Layout, Pair, Profile
from worker.score_cache import INDIFFERENT, ScoreCache, fingerprint
from worker.service import Worker
from worker.work import Answer, Work

TTL_S = 60.0
PROFILE = HeldEngine().profile
OTHERS = {str: "other", bool: True, int: 7, Layout: Layout.PACKED}


@pytest.fixture
def cache(redis_url: str, empty_redis: redis.Redis) -> Iterator[ScoreCache]:
    with connect(redis_url) as client:
        cache = ScoreCache(client, "model", TTL_S)
        cache.start()
        yield cache
        cache.stop()


def scored(keys: Sequence[bytes], *answers: Answer) -> Work:
    pairs = [Pair((1,) * (each.tokens - 1), (1,), each.truncated) for each in answers]
    work = Work("e", "j", pairs, 0.0, lambda _: None, keys=keys)
    for place, answer in enumerate(answers):
        work.put(place, answer.log_odds)
    return work


def kept(client: redis.Redis) -> list[bytes]:
    return list(client.scan_iter(name(Key.SCORE, "*")))


texts = st.text("a\0\ud800", max_size=3)


@example([("a", None, "aa"), ("aa", None, "a")])
@given(st.lists(st.tuples(texts, st.none() | texts, texts), min_size=2, max_size=2, unique=True))
def test_different_pairs_have_different_keys(asked: list[tuple[str, str | None, str]]) -> None:
    cache = ScoreCache(redis.Redis(), "model", TTL_S)
    one, two = (cache.keys(query, instruction, [text]) for query, instruction, text in asked)
    assert one != two
    assert one == cache.keys(asked[0][0], asked[0][1], [asked[0][2]])
    assert one != cache.keys(asked[0][0], asked[0][1], [asked[0][2]], 512)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Profile)])
def test_a_key_is_of_one_model_as_it_scores(field: str) -> None:
    other = dataclasses.replace(PROFILE, **{field: OTHERS[type(getattr(PROFILE, field))]})
    assert other != PROFILE
    same = field in INDIFFERENT
    assert (fingerprint(other) == fingerprint(PROFILE)) is same
    assert fingerprint(PROFILE, "limit=1") != fingerprint(PROFILE, "limit=2")


def test_what_was_scored_is_found_until_its_time_is_over(
    cache: ScoreCache, empty_redis: redis.Redis
) -> None:
    keys = cache.keys("query", None, ["one", "two", "three", "one"])
    one, two = Answer(-1.25, 100_000, True), Answer(0.1, 3, False)
    cache.keep(scored([keys[0], keys[1], keys[3]], one, two, one))
    eventually(lambda: len(kept(empty_redis)) == 2)
    found = cache.look_up(keys)
    assert found[0] == found[3] == one
    assert found[1] == dataclasses.replace(two, log_odds=pytest.approx(0.1))
    assert found[2] is None
    assert 0 < empty_redis.pttl(keys[0]) <= TTL_S * 1000
    empty_redis.set(keys[0], b"of another length")
    assert cache.look_up(keys[:1]) == [None]


def test_what_failed_is_not_kept(cache: ScoreCache, empty_redis: redis.Redis) -> None:
    failed = Work("e", "j", [Pair((), (1,))], 0.0, lambda _: None, keys=cache.keys("q", None, [""]))
    failed.fail(RuntimeError())
    cache.keep(failed)
    cache.stop()
    assert not kept(empty_redis)


@contextmanager
def filled_to(client: redis.Redis, share: float) -> Iterator[None]:
    used = client.info("memory")["used_memory"]  # type: ignore[index]
    before = client.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    client.config_set("maxmemory", int(used / share))
    try:
        yield
    finally:
        client.config_set("maxmemory", before)


@pytest.mark.parametrize(("share", "looks"), [(0.55, True), (1.1, False)])
def test_a_redis_that_fills_up_is_spared(
    cache: ScoreCache,
    empty_redis: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    share: float,
    looks: bool,
) -> None:
    """By the look at its memory; or, full since the last one, by its refusal."""
    if not looks:
        cache._look_at = float("inf")
    with filled_to(empty_redis, share):
        for n in range(3):
            cache.keep(scored(cache.keys("q", None, [str(n)]), Answer(1.0, 2, False)))
        cache.stop()
        assert not kept(empty_redis)
    assert caplog.messages == ["scores not kept"]
    assert caplog.records[0].__dict__["reason"] == score_cache.FILLING


def test_without_redis_nothing_is_known_and_nothing_waits(caplog: pytest.LogCaptureFixture) -> None:
    with connect("redis://127.0.0.1:1/0") as client:
        cache = ScoreCache(client, "model", TTL_S)
        keys = cache.keys("q", None, ["one", "two"])
        assert cache.look_up(keys) == [None, None]
        cache._client = None  # which is not asked again so soon
        assert cache.look_up(keys) == [None, None]
        for _ in range(2 * score_cache.MOST_WAITING):  # nobody writes
            cache.keep(scored(keys, Answer(1.0, 2, False), Answer(2.0, 2, False)))
    assert caplog.messages == ["no score looked up"]


class CountingEngine(HeldEngine):
    """Scores a document that is a number by it, without waiting; cuts those above 100."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(10_000)
        self.encoded: list[str] = []

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[Pair]:
        self.encoded += documents
        return [Pair((), (int(text),) * (3 + int(text) % 2), int(text) > 100) for text in documents]


@contextmanager
def running(engine: CountingEngine, redis_url: str, cache_ttl: float) -> Iterator[Worker]:
    worker = Worker(Settings(redis_url=redis_url, cache_ttl=cache_ttl), engine)
    worker.start()
    try:
        yield worker
    finally:
        worker.drain()


Said = tuple[list[float], int, int]  # log-odds in order, tokens, documents cut


def by_the_ledger(worker: Worker, documents: list[str]) -> Said:
    request, job_id = JobRequest(query="q", documents=documents), new_job_id()
    bounds = ((0, 2), (2, len(documents)))
    whole = shards.encode(request, documents, Cut(bounds, 10, 1))
    fields = header(
        request, whole.cut, model="m", owner="", request_id="r", result_ttl_ms=int(TTL_S * 1000)
    )
    commit = calls.commit(
        job_id,
        fields,
        entries=2,
        max_backlog=9,
        owner="",
        expires_in_ms=60_000,
        idempotency=None,
        staged=whole.token,
    )
    worker.ledger.submit(whole, commit)
    worker.intake.ring()
    eventually(lambda: worker.ledger.job(job_id).status is JobStatus.SUCCEEDED)  # type: ignore[union-attr]
    job = worker.ledger.job(job_id)
    assert job is not None
    outputs = sorted(worker.ledger.outputs(job_id), key=lambda output: output.first)
    cut = [output.first + place for output in outputs for place in output.truncated]
    assert cut == [place for place, text in enumerate(documents) if int(text) > 100]
    return [each for output in outputs for each in output.log_odds], job.tokens, job.truncated


def as_a_bare_task(worker: Worker, documents: list[str]) -> Said:
    request = JobRequest(query="q", documents=documents)
    task_id = str(uuid.uuid4())
    works = bare.scored(worker, request, documents, task_id=task_id, lane=Lane.INTERACTIVE)
    return (
        [score for work in works for score in work.scores],
        sum(work.tokens for work in works),
        sum(len(work.truncated) for work in works),
    )


@pytest.mark.parametrize("ask", [by_the_ledger, as_a_bare_task])
def test_a_worker_scores_what_it_was_not_asked_before(
    redis_url: str, empty_redis: redis.Redis, ask: object
) -> None:
    assert callable(ask)
    engine = CountingEngine()
    first, then = ["1", "102", "3"], ["104", "102", "3", "1", "5"]
    with running(engine, redis_url, TTL_S) as worker:
        assert ask(worker, first) == ([1.0, 102.0, 3.0], 4 + 3 + 4, 1)
        eventually(lambda: len(kept(empty_redis)) == 3)
        assert ask(worker, then) == ([104.0, 102.0, 3.0, 1.0, 5.0], 3 + 3 + 4 + 4 + 4, 2)
        eventually(lambda: len(kept(empty_redis)) == 5)
        batches = len(engine.batches)
        assert ask(worker, then)[0] == [104.0, 102.0, 3.0, 1.0, 5.0]
    assert sorted(engine.encoded) == ["1", "102", "104", "3", "5"]
    assert len(engine.batches) == batches, "all was known: the device was left alone"


def test_without_a_time_to_live_nothing_is_kept_or_asked(
    redis_url: str, empty_redis: redis.Redis
) -> None:
    engine = CountingEngine()
    empty_redis.config_resetstat()
    with running(engine, redis_url, 0.0) as worker:
        for _ in range(2):
            assert by_the_ledger(worker, ["1", "2", "3"])[0] == [1.0, 2.0, 3.0]
    assert len(engine.encoded) == 6
    assert not kept(empty_redis)
    assert not {"cmdstat_mget", "cmdstat_eval"} & set(empty_redis.info("commandstats"))  # type: ignore[arg-type]
