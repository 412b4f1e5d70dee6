"""`rerankq eval RUN QRELS [--before RUN]`: did reranking help?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from rerankq.bulk import evaluation
from rerankq.operator import Operator

DONE = 0


def add(verbs: Any, form: argparse.ArgumentParser) -> None:
    """Put the verb's parser among the others."""
    verb = verbs.add_parser("eval", help="measure a TREC run by judgements", parents=[form])
    verb.add_argument("ranking", metavar="RUN", help="a TREC run")
    verb.add_argument("judgements", metavar="QRELS", help="TREC's or BEIR's")
    verb.add_argument("--before", metavar="RUN", help="the run before it was reranked")
    verb.add_argument("--measures", nargs="+", default=evaluation.DEFAULT_MEASURES, metavar="M")
    verb.set_defaults(run=_run)


def _run(_: Operator, args: argparse.Namespace) -> int:
    judgements = evaluation.read_judgements(args.judgements)

    def measured(run: str) -> dict[str, float]:
        return evaluation.measured(evaluation.read_run(run), judgements, args.measures)

    after = measured(args.ranking)
    before = measured(args.before) if args.before is not None else None
    if args.json:
        rows = {
            name: {"value": value}
            if before is None
            else {"before": before[name], "value": value, "difference": value - before[name]}
            for name, value in after.items()
        }
        print(json.dumps({"queries": len(judgements), "measures": rows}))
    else:
        print(_table(after, before))
    return DONE


def _table(after: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    if before is None:
        return "\n".join(f"{name:12} {value:8.4f}" for name, value in after.items())
    rows = [f"{'':12} {'before':>8} {'after':>8} {'difference':>11}"]
    for name, value in after.items():
        rows.append(f"{name:12} {before[name]:8.4f} {value:8.4f} {value - before[name]:+11.4f}")
    return "\n".join(rows)
