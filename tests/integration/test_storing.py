"""A public task's result is stored though the connection breaks while Celery is at it."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rerankq.celery_app import make_app
from rerankq.settings import Settings
from worker.tasks import store_patiently


def test_a_cut_connection_fails_no_task(
    empty_redis: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(Settings(redis_url=redis_url))
    store_patiently(app)
    backend: Any = app.backend
    get, cut = backend.get, iter([True, True])

    def cut_twice(key: str) -> Any:
        if next(cut, False):
            raise redis.ConnectionError("Connection closed by server.")
        return get(key)

    monkeypatch.setattr(backend, "get", cut_twice)
    backend.mark_as_done("a task", {"results": []})
    assert b'"SUCCESS"' in empty_redis.get("celery-task-meta-a task")  # type: ignore[operator]
    backend.client.close()
    app.close()
