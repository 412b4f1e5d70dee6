"""The workers' ScaledObject, evaluated: what it asks for, and that the model compares the same."""

from random import Random
from typing import Any

import pytest

from benchmarks.autoscaling.chosen import DEFAULT
from benchmarks.autoscaling.hpa import Limit, Rules
from benchmarks.autoscaling.policies import ledger_and_device
from benchmarks.autoscaling.seen import Seen
from tests.scaling import SPEC, wanted


@pytest.mark.parametrize(
    ("counts", "replicas"),
    [
        ({}, {0: 0, 1: 0, 5: 0}),
        ({"pending_bulk": 1}, {0: 1, 1: 1, 5: 1}),
        ({"list_interactive": 1}, {0: 1, 1: 1}),
        ({"outbox_task": 1}, {0: 1, 1: 1, 5: 1}),
        ({"outbox_task": 100_000}, {0: 1, 1: 1, 5: 1}),
        ({"list_bulk_9": 1}, {0: 1, 1: 1}),
        ({"unacked": 1}, {0: 1, 1: 1, 5: 1}),
        ({"unacked": 100_000}, {0: 1, 1: 1, 5: 1}),  # delayed ones, say
        # In flight on a device that does nothing else: it is enough, and is not taken.
        ({"pending_interactive": 1, "busy": 3}, {1: 1}),
        ({"pending_interactive": 10, "busy": 6}, {1: 1, 2: 2}),
        # A device without a pause is always too little, however many there are.
        ({"pending_interactive": 10, "busy": 10}, {1: 2}),
        ({"pending_interactive": 10, "busy": 100}, {10: 16}),
        # Five that work half of the time could be four.
        ({"busy": 25}, {5: 4, 4: 4}),
        ({"pending_bulk": 2_000, "busy": 10}, {1: 42}),
        ({"pending_bulk": 2_000}, {0: 1, 1: 40}),
        ({"outbox_task": 9, "busy": 6}, {1: 1}),
        ({"pending_chunks": 1}, {0: 1, 1: 1}),
        ({"pending_chunks": 256, "busy": 10}, {1: 12}),
    ],
    ids=str,
)
def test_it_asks_for_the_workers_that_are_needed(
    counts: dict[str, int], replicas: dict[int, int]
) -> None:
    assert {current: wanted(current, **counts) for current in replicas} == replicas


def test_the_model_compares_what_the_manifest_says() -> None:
    policy, random = ledger_and_device(DEFAULT, "default"), Random(1)
    for _ in range(200):
        busy, pending, current = (
            random.randint(0, 100),
            random.randint(0, 3000),
            random.randint(1, 10),
        )
        seen = Seen(busy, pending, 0, 0.0, None, (), 0)
        assert wanted(current, busy=busy, pending_interactive=pending) == (
            max(1, policy.replicas(seen, current) or 0)
            if policy.active and policy.active(seen)
            else 0
        )


def test_the_manifest_has_the_chosen_numbers() -> None:
    behavior = SPEC["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]

    def rules(of: dict[str, Any]) -> Rules:
        limits = (Limit(p["type"], p["value"], p["periodSeconds"]) for p in of["policies"])
        return Rules(of["stabilizationWindowSeconds"], tuple(limits))

    assert rules(behavior["scaleUp"]) == DEFAULT.behavior.up
    assert rules(behavior["scaleDown"]) == DEFAULT.behavior.down
    assert SPEC["pollingInterval"] == DEFAULT.polling_s
    assert SPEC["cooldownPeriod"] == DEFAULT.cooldown_s
    assert (SPEC["minReplicaCount"], SPEC["maxReplicaCount"]) == (DEFAULT.least, DEFAULT.most)
