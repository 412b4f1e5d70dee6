"""`rerankq batches [list | status ID | cancel ID]`."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from typing import Any

from rerankq.bulk.command import summary
from rerankq.bulk.command.service import Service
from rerankq.bulk.command.state import BatchState
from rerankq.cli_bulk import service_for
from rerankq.errors import UsageError
from rerankq.operator import Operator

DONE, FAILED = 0, 1
LISTED = 100


def add(verbs: Any, form: argparse.ArgumentParser) -> None:
    """Put the verb's parser among the others."""
    batches = verbs.add_parser("batches", help="what became of files", parents=[form])
    batches.add_argument("action", nargs="?", choices=["list", "status", "cancel"], default="list")
    batches.add_argument("id", nargs="?", help="of the batch to show or to cancel")
    batches.set_defaults(run=_run)


def _run(client: Operator, args: argparse.Namespace) -> int:
    if (args.action == "list") != (args.id is None):
        raise UsageError("batches status ID, batches cancel ID, or batches list")
    service = service_for(client, args.url, None)
    if args.action == "list":
        return _list(service, args)
    state = service.cancel(args.id) if args.action == "cancel" else service.state(args.id)
    print(json.dumps(state.as_json()) if args.json else "\n".join(summary.lines(state)))
    return DONE if args.action == "cancel" else _code(state)


def _list(service: Service, args: argparse.Namespace) -> int:
    states = list(islice(service.recent(), LISTED))
    if args.json:
        print(json.dumps({"object": "list", "data": [state.as_json() for state in states]}))
    else:
        for state in states:
            print(summary.row(state))
    return DONE


def _code(state: BatchState) -> int:
    return FAILED if state.final and state.phase != "completed" else DONE
