"""The autoscaling model: Kubernetes' arithmetic by its documentation, and the model's own books."""

from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from random import Random

import pytest

from benchmarks.autoscaling import chart, chosen
from benchmarks.autoscaling.cluster import Pool
from benchmarks.autoscaling.hpa import (
    DEFAULT,
    Behavior,
    Hpa,
    Limit,
    Rules,
    by_average_value,
    by_pods,
)
from benchmarks.autoscaling.lanes import cut
from benchmarks.autoscaling.policies import (
    Policy,
    Scaling,
    cpu_hpa,
    ledger,
    ledger_and_device,
    list_length,
)
from benchmarks.autoscaling.report import Row
from benchmarks.autoscaling.seen import Seen
from benchmarks.autoscaling.traces import Job, Trace, recorded, synthetic
from benchmarks.autoscaling.world import Outcome, World

ROOT = Path(__file__).parents[2]
POOL = Pool()
MANY = 10_000


def test_desired_is_the_documented_formula_outside_the_tolerance():
    assert by_pods([200, 200], 100, 2, 0) == 4  # the documentation's own two examples
    assert by_pods([50, 50, 50, 50], 100, 4, 0) == 2
    random = Random(1)
    for _ in range(200):
        current, target = random.randint(1, 50), random.randint(1, 1000)
        metric = random.randint(0, 3000)
        documented = ceil(current * metric / target)
        expected = current if 0.9 <= metric / target <= 1.1 else documented
        assert by_pods([metric] * current, target, current, 0) == expected
        assert by_average_value(metric * current, target, current) == expected


@pytest.mark.parametrize(
    ("metric", "replicas"), [(89, 9), (90, 10), (100, 10), (110, 10), (111, 12), (0, 0)]
)
def test_a_tenth_either_way_is_tolerated(metric, replicas):
    assert by_pods([metric] * 10, 100, 10, 0) == replicas
    assert by_average_value(metric * 10, 100, 10) == replicas


def test_pods_not_ready_damp_a_rise_and_never_turn_it():
    assert by_pods([300], 100, 2, 1) == 3  # 150 on average of two, not 300 of one
    assert by_pods([150], 100, 3, 2) == 3  # 50 on average: a rise does not become a fall
    assert by_pods([50, 50], 100, 6, 4) == 1  # ignored downward
    assert by_pods([], 100, 3, 3) is None  # nothing to go by: nothing is done


def test_default_rise_is_four_pods_or_double_every_sync():
    hpa, replicas, seen = Hpa(1, 40, DEFAULT, 1), 1, []
    for sync in range(1, 6):
        replicas = hpa.sync(sync * 15.0, replicas, MANY)
        seen.append(replicas)
    assert seen == [5, 10, 20, 40, 40]


def test_a_policy_holds_over_its_period():
    hpa, replicas, seen = (
        Hpa(1, 99, Behavior(Rules(0, (Limit("Pods", 4, 60),)), DEFAULT.down), 1),
        1,
        [],
    )
    for sync in range(1, 10):
        replicas = hpa.sync(sync * 15.0, replicas, MANY)
        seen.append(replicas)
    assert seen == [5, 5, 5, 5, 9, 9, 9, 9, 13]


def test_documented_scale_down_from_eighty():
    """Ten percent, rounded up, or four pods, whichever is more."""
    limits = (Limit("Pods", 4, 60), Limit("Percent", 10, 60))
    hpa, replicas, seen = Hpa(1, 99, Behavior(DEFAULT.up, Rules(0, limits)), 80), 80, []
    for minute in range(1, 10):
        replicas = hpa.sync(minute * 60.0, replicas, 10)
        seen.append(replicas)
    assert seen == [72, 64, 57, 51, 45, 40, 36, 32, 28]
    least = Hpa(1, 99, Behavior(DEFAULT.up, Rules(0, limits, "Min")), 80)
    assert least.sync(60.0, 80, 10) == 76
    never = Hpa(1, 99, Behavior(DEFAULT.up, Rules(0, limits, "Disabled")), 80)
    assert never.sync(60.0, 80, 10) == 80


def test_stabilization_takes_the_safest_of_the_window():
    hpa = Hpa(1, 99, DEFAULT, 10)
    fell_at = next(
        sync * 15 for sync in range(1, 40) if hpa.sync(sync * 15.0, 10, 10 if sync == 1 else 2) < 10
    )
    assert fell_at == 15 + 300
    careful = Hpa(1, 99, Behavior(replace(DEFAULT.up, stabilization_s=60), DEFAULT.down), 1)
    assert [careful.sync(at, 1, 3) for at in (15.0, 30.0, 45.0, 60.0)] == [1, 1, 1, 3]


def test_bounds_come_before_metrics_and_zero_disables():
    assert Hpa(2, 5, DEFAULT, 9).sync(15.0, 9, MANY) == 5
    assert Hpa(2, 5, DEFAULT, 1).sync(15.0, 1, 0) == 2
    assert Hpa(1, 5, DEFAULT, 0).sync(15.0, 0, MANY) == 0
    assert Hpa(1, 5, DEFAULT, 3).sync(15.0, 3, None) == 3


def day(*jobs: tuple[float, int], seconds: float = 3600, lane: str = "interactive") -> Trace:
    return Trace("a day", [Job(at, pairs, lane) for at, pairs in jobs], seconds)


def flood() -> Trace:
    """600,000 pairs within five minutes, and a job of 50 every few seconds."""
    random = Random(3)
    bulk = [Job(60 + random.uniform(0, 300), 10_000, "bulk") for _ in range(60)]
    lone = [Job(random.uniform(0, 7200), 50, "interactive") for _ in range(2000)]
    return Trace("a flood", sorted([*bulk, *lone], key=lambda job: job.at), 7200)


def simulated(trace: Trace, policy: Policy, seed: int = 1) -> Outcome:
    return World(policy, POOL, seed).run(cut(trace, POOL.rate, POOL.shard_s), trace.seconds)


def test_waits_of_one_replica_are_those_of_a_queue():
    fixed = Policy("fixed", lambda seen, current: current)
    outcome = simulated(day((10, 250), (10.5, 125), (20, 250), (21.5, 50)), fixed)
    # A second of work at 10, and half a second later the next, which waits as long; then no wait.
    assert outcome.waits["interactive"] == {0: 550, 50: 125}
    assert outcome.hours == 1.0
    assert outcome.wait(0.81) == 0
    assert outcome.wait(0.82) == 0.5


def test_every_pair_is_scored_once_though_workers_leave_amid_work():
    trace = flood()
    nervous = list_length(Scaling(share=50, down_stabilization_s=0, least=1))
    outcome = simulated(trace, nervous)
    replicas = [count for _, count, _ in outcome.curve]
    assert sum(a > b for a, b in pairwise(replicas)) > 3
    assert outcome.given_up == 0
    assert sum(waits.total() for waits in outcome.waits.values()) == trace.pairs
    assert simulated(trace, nervous) == outcome
    assert outcome.hours > outcome.work_hours


def test_keda_goes_from_zero_at_a_poll_and_to_zero_after_the_cooldown():
    scaling = Scaling(share=10, polling_s=20, cooldown_s=100)
    outcome = simulated(day((1000, 50)), ledger(scaling))
    count = {at: replicas for at, replicas, _ in outcome.curve}
    assert (count[90], count[150]) == (1, 0)
    assert (count[1005], count[1020]) == (0, 1)
    start = outcome.wait(0.5)
    assert 20 + 30 <= start <= 20 + 240  # a poll, then a node that was still there, or a new one
    served = 1000 + start
    assert count[served // 15 * 15 + 90] == 1
    assert count[served // 15 * 15 + 165] == 0


def test_a_list_forgets_what_workers_hold_and_the_ledger_does_not():
    """Steady work of half a replica: nothing ever waits, and yet a worker is at it."""
    random = Random(1)
    steady = day(*[(at / 4 + random.random() / 4, 30) for at in range(4 * 1800)], seconds=1800)
    to_zero = Scaling(share=10, polling_s=30)
    assert min(count for _, count, _ in simulated(steady, ledger(to_zero)).curve) == 1
    assert min(count for _, count, _ in simulated(steady, list_length(to_zero)).curve) == 0


def test_cpu_shows_a_busy_gpu_only_if_one_core_is_much_of_the_request():
    flood = day(*[(second, 1000) for second in range(600)], seconds=1200)
    most = {
        request: max(count for _, count, _ in simulated(flood, cpu_hpa(request)).curve)
        for request in (1.0, 1.5, 4.0)
    }
    assert most[1.0] > 2
    assert most[1.5] == most[4.0] == 1
    idle = simulated(day((10, 50)), cpu_hpa(1.0))
    assert {count for _, count, _ in idle.curve} == {1}  # an HPA on CPU knows no zero


def test_a_recorded_day_is_read(tmp_path):
    path = tmp_path / "tuesday.csv"
    path.write_text("second,pairs\n1700000030,50\n1700000000.5,9000,x\n")
    trace = recorded(path)
    assert trace.jobs == [Job(0, 9000, "bulk"), Job(29.5, 50, "interactive")]
    assert (trace.name, trace.pairs) == ("tuesday", 9050)


def test_defaults_beat_the_cpu_hpa_on_a_day_that_is_quick():
    sparse = synthetic("sparse", 1, POOL.rate)
    theirs = simulated(sparse, cpu_hpa(request=1))
    ours = simulated(sparse, ledger_and_device(chosen.DEFAULT, "default"))
    assert ours.wait(0.95) < theirs.wait(0.95)
    assert ours.hours <= theirs.hours


def test_a_minute_s_work_is_seen_in_tenths_and_stays_for_that_minute():
    """A job of 30 s on the one replica there is: five tenths of a minute, and none one later."""
    seen = []

    def look(now: Seen, current: int) -> int:
        seen.append(now.busy_tenths)
        return current

    simulated(day((300, 30 * 250), seconds=600), Policy("looks", look))
    looks = dict(zip(range(15, 601, 15), seen, strict=True))
    assert [looks[at] for at in (300, 315, 330, 345, 360, 375, 390)] == [0, 2, 5, 5, 5, 3, 0]


def test_the_chart_has_a_place_for_each_policy():
    trace = day((10, 5000), (500, 250), seconds=1000)
    policies = [cpu_hpa(request=1), ledger_and_device(chosen.DEFAULT, "default")]
    rows = [Row(trace, policy.name, simulated(trace, policy)) for policy in policies]
    drawn = chart.svg(rows)
    assert drawn.count("<path") == 4  # two frames, two curves
    assert [f">{n}  {row.policy}</text>" in drawn for n, row in enumerate(rows, 1)] == [True, True]


def test_the_document_has_the_chosen_numbers():
    assert chosen.said(chosen.DEFAULT) in (ROOT / "docs" / "autoscaling.md").read_text()
