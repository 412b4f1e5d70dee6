"""Pairs a second by contender for each shape, as a PNG, from a run's results.

    PYTHON -m benchmarks.chart RESULTS.json CHART.png

In the environment of CrossEncoder, which has matplotlib. Median of the mixed lengths; the thin line
is the range, the dashed one what the matrix products would allow.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS = "#1f6f8b"
THEIRS = "#b8bec4"


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    results = [one for one in json.loads(source.read_text())["results"] if _shown(one)]
    figure, axes = plt.subplots(
        1, len(results), figsize=(3.6 * len(results) + 0.8, 2.6), squeeze=False
    )
    for axis, result in zip(axes[0], results, strict=True):
        _draw(axis, result)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def _shown(result: dict[str, Any]) -> bool:
    return str(result["workload"]).startswith("mixed")


def _draw(axis: Any, result: dict[str, Any]) -> None:
    medians = {name: statistics.median(rates) for name, rates in result["rates"].items()}
    names = sorted(medians, key=lambda name: medians[name])
    middles = [medians[name] for name in names]
    below = [medians[name] - min(result["rates"][name]) for name in names]
    above = [max(result["rates"][name]) - medians[name] for name in names]
    colours = [OURS if name.startswith("rerankq") else THEIRS for name in names]
    axis.barh(names, middles, xerr=[below, above], color=colours, error_kw={"lw": 0.8})
    for row, middle in enumerate(middles):
        ink = "white" if colours[row] == OURS else "black"
        axis.annotate(f" {middle:.3g}", (0, row), va="center", fontsize=8, color=ink)
    limit = axis.axvline(statistics.median(result["limits"]), ls="--", lw=1, color="#a33")
    axis.legend([limit], ["limit of the matrix products"], fontsize=7, loc="lower right")
    axis.set_title(f"{result['shape']}, {result['dtype']}", fontsize=9)
    axis.set_xlabel("pairs/s", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
