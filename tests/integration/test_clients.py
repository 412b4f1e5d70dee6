"""Cohere's own SDK, unchanged; `make clients` does the same with more, each where it is at home."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.localsystem import DEMO_MODEL, LocalSystem
from tests.clients.callers.cohere import CLIENTS
from tests.clients.checks import CHECKS, Client, Situation, outcome
from tests.clients.examples import named
from tests.clients.run import NAMES, situation
from tests.conftest import StartSystem

KEY = "the-key-of-a-client"


@pytest.fixture(scope="module")
def asked(demo_system: LocalSystem, start_system: StartSystem) -> Situation:
    locked = start_system(workers=0, api_keys=KEY, max_backlog="1")
    return situation(demo_system.url, locked.url, locked.url, KEY)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_sdk_is_served(client: Client, check: str, asked: Situation) -> None:
    assert outcome(replace(client, model=DEMO_MODEL), check, asked).wrong == ""


def test_each_example_has_an_environment() -> None:
    assert named() == set(NAMES) - {"cohere"}, "which runs with the other documents' examples"
