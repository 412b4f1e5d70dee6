"""Which pairs go into the next batch. Pure Python: no torch, no clock, no threads."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.interface import Layout, Pair

LOOKAHEAD_BUDGETS = 4  # how far behind the first pair the planner may look for company


def plan(
    waiting: Sequence[Pair], budget: int, layout: Layout, leading: int | None = None
) -> list[int]:
    """Choose a batch.

    The first pair is always in it, so nobody is passed over for ever; the others are those of the
    lookahead that go with it most cheaply.

    Args:
        waiting: pairs by urgency, not empty.
        budget: tokens, counted as the layout costs them; a single pair may exceed it.
        leading: so many of the first, at least one, are not kept waiting for the sake of the
            others, which only fill what these leave of the budget. Default: all.

    Returns: indexes into `waiting`, longest pair first.
    """
    near = _lookahead(waiting, LOOKAHEAD_BUDGETS * budget)
    if layout is Layout.PACKED:
        chosen = _plan_packed(near, len(waiting) if leading is None else leading, budget)
    else:
        chosen = _plan_padded(near[:leading], budget)
        if leading is not None:
            chosen += _filling(near, leading, [near[i].length for i in chosen], budget)
    return sorted(chosen, key=lambda i: (-near[i].length, i))


def cost(pairs: Sequence[Pair], layout: Layout) -> int:
    """Tokens the device computes for this batch."""
    if layout is Layout.PADDED:
        return len(pairs) * max(pair.length for pair in pairs)
    prefixes = {id(pair.shared): len(pair.shared) for pair in pairs}
    return sum(len(pair.own) for pair in pairs) + sum(prefixes.values())


def spread(pairs: Sequence[Pair], lanes: int, layout: Layout) -> list[list[int]]:
    """Divide a batch into at most so many parts that cost about the same, as indexes.

    Cut out of one row, in which pairs that share a prefix stand together, or where a part is padded
    those of like length; so at most one prefix is computed twice at each cut.
    """
    if layout is Layout.PACKED:
        first = {id(pair.shared): i for i, pair in reversed(list(enumerate(pairs)))}
        row = sorted(range(len(pairs)), key=lambda i: (first[id(pairs[i].shared)], i))
    else:
        row = sorted(range(len(pairs)), key=lambda i: -pairs[i].length)
    prices = [len(pairs[i].own) if layout is Layout.PACKED else pairs[i].length for i in row]
    share = sum(prices) / lanes
    parts: list[list[int]] = [[]]
    before = 0
    for i, price in zip(row, prices, strict=True):
        if parts[-1] and len(parts) < lanes and before + price / 2 > len(parts) * share:
            parts.append([])
        parts[-1].append(i)
        before += price
    return parts


def _lookahead(waiting: Sequence[Pair], tokens: int) -> Sequence[Pair]:
    total = 0
    for i, pair in enumerate(waiting):
        total += pair.length
        if total > tokens:
            return waiting[: max(1, i)]
    return waiting


def _plan_padded(waiting: Sequence[Pair], budget: int) -> list[int]:
    """A run of neighbours by length around the first pair, grown to the side that pads less."""
    by_length = sorted(range(len(waiting)), key=lambda i: waiting[i].length)
    low = high = by_length.index(0)
    while True:
        longest, count = waiting[by_length[high]].length, high - low + 1
        # Padding added by one step down, or by one step up (every row grows).
        down = longest - waiting[by_length[low - 1]].length if low > 0 else None
        up = None
        if high + 1 < len(by_length):
            next_longest = waiting[by_length[high + 1]].length
            if next_longest * (count + 1) <= budget:
                up = (next_longest - longest) * count
        if down is not None and longest * (count + 1) > budget:
            down = None
        if down is None and up is None:
            return by_length[low : high + 1]
        if up is None or (down is not None and down <= up):
            low -= 1
        else:
            high += 1


def _filling(waiting: Sequence[Pair], first: int, lengths: Sequence[int], budget: int) -> list[int]:
    """What fits beside pairs of these lengths and makes no row longer, from index `first` on."""
    longest = max(lengths)
    fitting = [i for i in range(first, len(waiting)) if waiting[i].length <= longest]
    room = max(0, budget // longest - len(lengths))
    return sorted(fitting, key=lambda i: -waiting[i].length)[:room]


def _plan_packed(waiting: Sequence[Pair], leading: int, budget: int) -> list[int]:
    """Groups in order of urgency, each prefix paid once: first what leads of them, then the rest.

    The rest of a group that leads comes before other groups, because its prefix is paid already.
    """
    first: dict[int, int] = {}
    for i, pair in enumerate(waiting):
        first.setdefault(id(pair.shared), i)
    order = sorted(range(len(waiting)), key=lambda i: (i >= leading, first[id(waiting[i].shared)]))
    chosen: list[int] = []
    paid: set[int] = set()
    used = 0
    for i in order:
        pair = waiting[i]
        price = len(pair.own) + (0 if id(pair.shared) in paid else len(pair.shared))
        if not chosen or used + price <= budget:
            chosen.append(i)
            paid.add(id(pair.shared))
            used += price
    return chosen
