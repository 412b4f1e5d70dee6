"""Callers that come too often: over real HTTP, counted by two replicas together."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from rerankq.ledger.keys import ROOT as PREFIX
from scripts.localsystem import LocalSystem
from tests.conftest import ROOT, clean_environment, eventually

BODY = {"query": "q", "documents": ["d"], "lane": "bulk"}
LIMIT = 5
BRINGING = (
    *("/v1/jobs", "/v1/jobs/job_0/retry", "/v1/files", "/v1/batches"),
    *("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/voyage/v1/rerank"),
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    keys = "one 1, two 2, three 3, four 4, five 5"
    limit = f"1000/hour; {LIMIT} per minute"
    env = clean_environment(RERANKQ_RATE_LIMIT=limit, RERANKQ_API_KEYS=keys)
    system = LocalSystem(tmp_path_factory.mktemp("rates"), workers=0, apis=2, env=env)
    system.start()
    yield system
    system.stop()


@pytest.fixture(scope="module")
def replicas(system: LocalSystem) -> Iterator[Any]:
    """Both, in turn, for ever."""
    clients = [httpx.Client(base_url=url, timeout=20) for url in system.urls]
    yield itertools.cycle(clients)
    for client in clients:
        client.close()


def call(replicas: Any, key: str, path: str = "/v1/jobs", body: Any = BODY) -> httpx.Response:
    answer: httpx.Response = next(replicas).post(
        path, json=body, headers={"Authorization": f"Bearer {key}"}
    )
    return answer


def test_replicas_count_each_key_s_calls_together(system: LocalSystem, replicas: Any) -> None:
    assert [call(replicas, "1").status_code for _ in range(LIMIT)] == [202] * LIMIT
    for path in BRINGING:
        refused = call(replicas, "1", path, "of no form, since nobody reads it")
        assert refused.status_code == 429, path
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["X-Request-ID"]
        assert refused.json()["code"] == "rate_limited"
        assert refused.json()["limit"] == "5 per 1 minute"
    assert call(replicas, "2").status_code == 202, "another's calls are another's"
    with redis.Redis.from_url(system.redis_url) as ledger:
        counts = list(ledger.scan_iter(f"{PREFIX}rate:*"))
        assert any(b"name:one" in key for key in counts)
        assert all(0 < ledger.ttl(key) <= 2 * 3600 for key in counts)


def test_reading_and_health_are_not_counted(replicas: Any) -> None:
    headers = {"Authorization": "Bearer 3"}
    job = call(replicas, "3").json()
    for _ in range(LIMIT):
        for path in (f"/v1/jobs/{job['id']}", "/v1/jobs", "/v1/queue", "/livez", "/metrics"):
            assert next(replicas).get(path, headers=headers).status_code == 200
    assert next(replicas).delete(f"/v1/jobs/{job['id']}", headers=headers).status_code == 200
    # Nobody knows whose these are.
    assert [call(replicas, "wrong").status_code for _ in range(LIMIT + 1)] == [401] * (LIMIT + 1)
    assert [call(replicas, "3").status_code for _ in range(LIMIT)] == [202] * (LIMIT - 1) + [429]


def test_redis_away_is_503_and_full_counts_nothing(system: LocalSystem, replicas: Any) -> None:
    server = system.child("redis").process
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        away = call(replicas, "4")
    finally:
        server.send_signal(signal.SIGCONT)
    assert (away.status_code, away.json()["code"]) == (503, "queue_unavailable")
    assert away.headers["Retry-After"]
    with redis.Redis.from_url(system.redis_url) as ledger:
        ledger.config_set("maxmemory", 1)
        try:
            # By what the front last saw, or by what Redis says to the job itself.
            eventually(lambda: call(replicas, "4").json()["code"] == "memory_full")
        finally:
            ledger.config_set("maxmemory", 0)
    eventually(lambda: all(_has_room(url) for url in system.urls))
    assert call(replicas, "5").status_code == 202


def _has_room(url: str) -> bool:
    return "rerankq_redis_memory_ratio 0.0" in httpx.get(f"{url}/metrics").text


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_wrong_notation_stops_the_start_with_one_line(form: str) -> None:
    line = [sys.executable, "-m", "api", "--port", "0"]
    env = clean_environment(RERANKQ_RATE_LIMIT="often", RERANKQ_LOG_FORMAT=form)
    said = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)
    assert said.returncode == 2
    (line_said,) = said.stderr.splitlines()
    message = json.loads(line_said)["message"] if form == "json" else line_said
    assert message.startswith("RERANKQ_RATE_LIMIT='often': must be such as")
