"""OpenAI's own client at an API of ours, as two callers who must not see each other's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
from openai import OpenAI

from rerankq.ledger.connection import connect
from rerankq.ledger.store import Ledger
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem

KEYS = {"alice": "the-key-of-alice", "bob": "the-key-of-bob"}


def openai_at(system: LocalSystem, key: str) -> OpenAI:
    return OpenAI(base_url=f"{system.url}/v1", api_key=key, max_retries=0, timeout=30)


@dataclass(frozen=True)
class Service:
    """An API without workers, the callers, and what lies behind it."""

    system: LocalSystem
    storage: Path
    alice: OpenAI
    bob: OpenAI
    http: httpx.Client
    redis: redis.Redis
    ledger: Ledger

    def stored(self) -> set[str]:
        """What lies in the storage, by path."""
        return {
            str(path.relative_to(self.storage))
            for path in self.storage.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def service(
    start_system: StartSystem, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    storage = tmp_path_factory.mktemp("storage")
    system = start_system(
        workers=0,
        storage_url=str(storage),
        storage_allow="s3://allowed/in",
        api_keys=",".join(f"{name} {key}" for name, key in KEYS.items()),
    )
    headers = {"Authorization": f"Bearer {KEYS['alice']}"}
    with ExitStack() as stack:
        client = stack.enter_context(connect(system.redis_url))
        yield Service(
            system,
            storage,
            stack.enter_context(openai_at(system, KEYS["alice"])),
            stack.enter_context(openai_at(system, KEYS["bob"])),
            stack.enter_context(httpx.Client(base_url=system.url, headers=headers, timeout=30)),
            client,
            Ledger(client),
        )
