"""Results as Markdown, in medians and ranges; ratios are formed round by round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from benchmarks.case import Result
from benchmarks.spread import spread

HEAD = ("contender", "its settings", "pairs/s", "/ seed loop", "/ CrossEncoder", "of the limit")


def table(result: Result) -> str:
    """One workload's contenders, fastest first."""
    whole, shared = result.tokens
    title = (
        f"**{result.shape}, {result.dtype}, {result.workload}**: {result.pairs} pairs of "
        f"{whole:.0f} tokens, {shared:.0f} of them shared, {len(result.limits)} rounds"
    )
    lines = [title, "", *_header((*HEAD, "off by"))]
    by_rate = sorted(result.rates, key=lambda name: -statistics.median(result.rates[name]))
    lines += [_row(_cells(result, name)) for name in by_rate]
    lines.append(_row(["limit", _gflops(result), spread(result.limits, ".3g"), "", "", "", ""]))
    return "\n".join(lines) + "\n"


def _cells(result: Result, name: str) -> list[str]:
    rates = result.rates[name]
    return [
        name,
        result.settings[name],
        spread(rates, ".3g"),
        _ratio(rates, result.rates.get("seed loop")),
        _ratio(rates, result.rates.get("CrossEncoder")),
        _ratio(rates, result.limits),
        f"{result.deviation[name]:.1e}",
    ]


def _ratio(rates: list[float], of: list[float] | None) -> str:
    if of is None:
        return "-"
    return spread([a / b for a, b in zip(rates, of, strict=True)], ".2f")


def _gflops(result: Result) -> str:
    """The rates of each way of computing, GFLOP/s."""
    ways = {name: [one[name] for one in result.gflops] for name in result.gflops[0]}
    return "GFLOP/s: " + ", ".join(f"{name} {spread(rates, '.0f')}" for name, rates in ways.items())


def _header(cells: Iterable[str]) -> list[str]:
    cells = list(cells)
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
