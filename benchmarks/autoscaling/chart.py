"""Replicas over the day, and p95 wait against GPU hours, for each trace, as a PNG.

    PYTHON -m benchmarks.autoscaling.chart RESULTS.json CHART.png

In the environment of CrossEncoder, which has matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS, THEIRS, OTHERS = "#1f6f8b", "#d08030", "#b8bec4"


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    rows = json.loads(source.read_text())
    traces = list(dict.fromkeys(row["trace"] for row in rows))
    size = (3.4 * len(traces) + 0.6, 5.4)
    figure, axes = plt.subplots(2, len(traces), figsize=size, squeeze=False)
    for column, trace in enumerate(traces):
        of_trace = [row for row in rows if row["trace"] == trace]
        _curves(axes[0][column], of_trace)
        _bargain(axes[1][column], of_trace)
        axes[0][column].set_title(trace, fontsize=9)
    axes[0][0].set_ylabel("replicas", fontsize=8)
    axes[1][0].set_ylabel("p95 wait, s", fontsize=8)
    axes[0][0].legend(fontsize=7, loc="upper left")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def _colour(policy: str) -> str:
    if policy.startswith("default"):
        return OURS
    return THEIRS if policy.startswith("CPU HPA") else OTHERS


def _curves(axis: Any, rows: list[dict[str, Any]]) -> None:
    cpu = next(row for row in rows if row["policy"].startswith("CPU HPA"))
    ours = next(row for row in rows if row["policy"] == "default")
    for row in (cpu, ours):
        at, replicas = zip(*row["curve"], strict=True)
        label, colour = row["policy"], _colour(row["policy"])
        axis.step(at, replicas, where="post", lw=1, color=colour, label=label)
    axis.set_xlabel("hour", fontsize=8)
    axis.set_ylim(bottom=0)
    _plain(axis)


def _bargain(axis: Any, rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows, 1):
        colour, wait = _colour(row["policy"]), max(row["p95"], 0.01)
        axis.plot(row["hours"], wait, "o", ms=6, color=colour)
        place = (row["hours"], wait)
        axis.annotate(f" {number}", place, fontsize=8, va="center")
    axis.set_yscale("log")
    axis.set_xlabel("GPU hours (numbers: rows of the table)", fontsize=8)
    axis.margins(x=0.15)
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
