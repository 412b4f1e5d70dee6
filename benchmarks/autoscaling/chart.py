"""Replicas over the day, and p95 wait against GPU hours, of each day, as an SVG.

Left out is what would leave no room for the rest: a CPU HPA that never scales, and the trickle, on
which nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import log10
from xml.sax.saxutils import escape

from benchmarks.autoscaling.report import Row

OURS, THEIRS, OTHERS, INK = "#1f6f8b", "#d08030", "#7a828a", "#333"
LEFT, COLUMN, WIDE = 46, 232, 190  # of a plot: where the first begins, how far the next, its width
CURVES, BARGAIN, TALL = 30, 196, 120  # top of each row of plots, and a plot's height
LEGEND = 360
EDGE = 0.08  # of an axis, free on both sides of the points
CURVE_STEP = 8  # every eighth sync, two minutes, is enough for a chart


def svg(rows: list[Row]) -> str:
    shown = [row for row in rows if row.trace.name != "trickle" and "4-core" not in row.policy]
    days = [list(of_day) for _, of_day in groupby(shown, key=lambda row: row.trace.name)]
    names = [row.policy for row in days[0]]
    lines = -(-len(names) // len(days))
    size = (LEFT + COLUMN * len(days), LEGEND + 16 * lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'width="{size[0]}" font-family="sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/>',
        _text(12, CURVES + TALL / 2, "replicas", "middle", turned=True),
        _text(12, BARGAIN + TALL / 2, "p95 wait, s", "middle", turned=True),
    ]
    for column, of_day in enumerate(days):
        left = LEFT + COLUMN * column
        parts.append(_text(left + WIDE / 2, 18, of_day[0].trace.name, "middle", size=13))
        parts += _curves(Plot(left, CURVES), of_day)
        parts += _bargain(Plot(left, BARGAIN), of_day)
    for number, policy in enumerate(names):
        x, y = LEFT + COLUMN * (number // lines), LEGEND + 16 * (number % lines)
        parts.append(_text(x, y, f"{number + 1}  {policy}", colour=_colour(policy)))
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class Plot:
    """One pair of axes; `place` is where a point lies whose coordinates are shares of them."""

    left: float
    top: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * WIDE, self.top + (1 - y) * TALL

    def frame(
        self, x_marks: Iterable[tuple[float, str]], y_marks: Iterable[tuple[float, str]]
    ) -> Iterator[str]:
        bottom = self.top + TALL
        yield (
            f'<path d="M{self.left} {self.top}V{bottom}H{self.left + WIDE}" '
            f'fill="none" stroke="{INK}" stroke-width="0.7"/>'
        )
        for share, label in x_marks:
            yield _text(self.left + share * WIDE, bottom + 14, label, "middle")
        for share, label in y_marks:
            yield _text(self.left - 4, bottom - share * TALL + 4, label, "end")


def _curves(plot: Plot, rows: list[Row]) -> Iterator[str]:
    cpu = next(row for row in rows if row.policy.startswith("CPU HPA"))
    ours = next(row for row in rows if row.policy == "default")
    end = ours.trace.seconds
    most = max(count for row in (cpu, ours) for _, count, _ in row.outcome.curve)
    hours = [(h * 3600 / end, str(h)) for h in range(0, int(end / 3600) + 1, 6)]
    yield from plot.frame(hours, [(0, "0"), (1, str(most))])
    for row in (cpu, ours):
        points = [(at / end, n / most) for at, n, _ in row.outcome.curve[::CURVE_STEP] if at <= end]
        path, drawn = "", None
        for x, y in points:
            across, down = plot.place(x, y)
            if drawn is None:
                path = f"M{across:.1f} {down:.1f}"
            elif y != drawn:
                path += f"H{across:.1f}V{down:.1f}"
            drawn = y
        path += f"H{plot.left + WIDE}"
        yield f'<path d="{path}" fill="none" stroke="{_colour(row.policy)}"/>'


def _bargain(plot: Plot, rows: list[Row]) -> Iterator[str]:
    """Down and left is better. The points are the policies' numbers in the legend."""
    hours = [row.outcome.hours for row in rows]
    waits = [max(row.outcome.wait(0.95), 0.01) for row in rows]
    across, up = _scale(hours), _scale([log10(wait) for wait in waits])
    ends = [(EDGE, f"{min(hours):.0f} h"), (1 - EDGE, f"{max(hours):.0f} h")]
    yield from plot.frame(
        [*ends, (0.5, "GPU hours")],
        [(EDGE, f"{min(waits):.3g}"), (1 - EDGE, f"{max(waits):.3g}")],
    )
    places = [plot.place(x, y) for x, y in zip(across, up, strict=True)]
    for (x, y), numbers in _together(places):
        label = ",".join(str(number + 1) for number in numbers)
        colour = min((_colour(rows[number].policy) for number in numbers), key=_rank)
        yield _text(x, y + 4, label, colour=colour, bold=True)


def _scale(values: list[float]) -> list[float]:
    """As shares of an axis, from the least to the most."""
    low, spread = min(values), max(values) - min(values)
    return [EDGE + (1 - 2 * EDGE) * (value - low) / (spread or 1) for value in values]


def _together(
    places: list[tuple[float, float]],
) -> Iterator[tuple[tuple[float, float], list[int]]]:
    """Points that would lie on each other, as one."""
    seen: list[tuple[tuple[float, float], list[int]]] = []
    for number, (x, y) in enumerate(places):
        near = (them for (a, b), them in seen if abs(a - x) < 7 and abs(b - y) < 7)
        them = next(near, None)
        if them is None:
            seen.append(((x, y), [number]))
        else:
            them.append(number)
    yield from seen


def _colour(policy: str) -> str:
    if policy.startswith("default"):
        return OURS
    return THEIRS if policy.startswith("CPU HPA") else OTHERS


def _rank(colour: str) -> int:
    return (OURS, THEIRS, OTHERS).index(colour)


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    *,
    colour: str = INK,
    size: int = 11,
    bold: bool = False,
    turned: bool = False,
) -> str:
    looks = f'text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    looks += ' font-weight="bold"' if bold else ""
    looks += f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {looks}>{escape(text)}</text>'
