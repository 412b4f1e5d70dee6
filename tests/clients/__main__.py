"""`make clients`: a line for each client, what came of each check; exits 1 if any was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.clients.checks import CHECKS, Outcome
from tests.clients.run import NAMES, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="clients", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    names = parser.parse_args().names
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), names)
    print(table(outcomes))
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    for outcome in wrong:
        print(f"\n{outcome.client}, {outcome.check}: {outcome.wrong}")
    ran = sum(outcome.check == "example" for outcome in outcomes)
    print(
        f"\n{len(outcomes)} checks, {ran} of them examples of docs/clients.md; {len(wrong)} failed"
    )
    return 1 if wrong else 0


def table(outcomes: Sequence[Outcome]) -> str:
    """Clients down, checks across; a check that was not reached has failed."""
    cells: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        if outcome.check != "example":
            cells.setdefault(outcome.client, {})[outcome.check] = outcome.said
    rows = [("client", *CHECKS)]
    rows += [
        (name, *(said.get(check, "FAILED") for check in CHECKS)) for name, said in cells.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
