"""The table of a run, and what it says of the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.autoscaling.traces import Trace
from benchmarks.autoscaling.world import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    trace: Trace
    policy: str
    outcome: Outcome

    def cost(self, price: float) -> float:
        """Of a million pairs."""
        return self.outcome.hours * price / (self.trace.pairs / 1e6)


def table(rows: list[Row], price: float) -> str:
    """Markdown; waits in seconds, by pairs."""
    trace = rows[0].trace
    work = rows[0].outcome.work_hours
    lines = [
        f"{trace.name}: {trace.pairs / 1e6:.2f} million pairs, {work:.1f} GPU hours of work",
        "",
        "| policy | wait p50 | p95 | p99 | interactive p95 | GPU hours | cost per million |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        o = row.outcome
        waits = [o.wait(0.5), o.wait(0.95), o.wait(0.99), o.wait(0.95, "interactive")]
        cells = [_seconds(wait) for wait in waits]
        given_up = f" ({o.given_up:,} pairs given up)" if o.given_up else ""
        cells += [f"{o.hours:.1f}", f"{row.cost(price):.2f}{given_up}"]
        lines.append(f"| {row.policy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(ours: Row, theirs: Row) -> str:
    """What the acceptance asks, said as it is."""
    a, b = ours.outcome, theirs.outcome
    shorter, cheaper = a.wait(0.95) < b.wait(0.95), a.hours <= b.hours
    word = "holds" if shorter and cheaper else "does not hold"
    return (
        f"  {ours.trace.name}, {ours.policy}: {word}: p95 {_seconds(a.wait(0.95))} s against "
        f"{_seconds(b.wait(0.95))} s, {a.hours:.1f} GPU hours against {b.hours:.1f}"
    )


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
