"""The command line's verbs for operators: pause, resume, purge, workers, drain."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rerankq.operator import Operator
from rerankq.status import Lane
from rerankq.views import LaneView, WorkerList

DONE, FAILED = 0, 1


def add(verbs: Any, form: argparse.ArgumentParser) -> None:
    """Put the verbs' parsers among the others."""
    lanes = [*map(str, Lane)]

    def verb(name: str, run: Any, words: str, argument: str | None = None) -> Any:
        sub = verbs.add_parser(name, help=words, parents=[form])
        if argument:
            sub.add_argument(argument, choices=lanes if argument == "lane" else None)
        sub.set_defaults(run=run)
        return sub

    pause = verb("pause", _pause, "take nothing more of a lane", "lane")
    resume = verb("resume", _resume, "take of it again", "lane")
    purge = verb("purge", _purge, "cancel every open job of a lane", "lane")
    for sub in (pause, resume, purge):
        sub.add_argument("--model", help="whose lane (default: the default model's)")
    purge.add_argument("--yes", action="store_true", help="do not ask")
    verb("workers", _workers, "who is alive")
    verb("drain", _drain, "have a worker end its batch, hand the rest back and exit", "worker")


def _pause(client: Operator, args: argparse.Namespace) -> int:
    return _show_lane(client.pause(Lane(args.lane), args.model), args)


def _resume(client: Operator, args: argparse.Namespace) -> int:
    return _show_lane(client.resume(Lane(args.lane), args.model), args)


def _show_lane(view: LaneView, args: argparse.Namespace) -> int:
    state = "paused" if view.paused else "open"
    text = f"{args.lane} is {state}: {view.waiting} waiting, {view.in_flight} in flight"
    print(view.model_dump_json() if args.json else text)
    return DONE


def _purge(client: Operator, args: argparse.Namespace) -> int:
    lane = Lane(args.lane)
    if not args.yes and not _confirmed(client, lane, args.model):
        print("rerankq: nothing was cancelled", file=sys.stderr)
        return FAILED
    purged = client.purge(lane, args.model)
    print(purged.model_dump_json() if args.json else f"{purged.cancelled} jobs cancelled")
    return DONE


def _confirmed(client: Operator, lane: Lane, model: str | None) -> bool:
    print(f"{client.ask_to_purge(lane, model)}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == lane


def _workers(client: Operator, args: argparse.Namespace) -> int:
    workers = client.workers()
    if args.json:
        print(WorkerList(data=workers).model_dump_json())
        return DONE
    for worker in workers:
        where = f"{worker.host}:{worker.pid}"
        print(f"{worker.id}  {worker.state:8}  {where}  {worker.tokens_per_s:.0f} tokens/s")
    if not workers:
        print("rerankq: no worker was heard of in the last 10 s", file=sys.stderr)
    return DONE


def _drain(client: Operator, args: argparse.Namespace) -> int:
    worker = client.drain(args.worker)
    print(worker.model_dump_json() if args.json else f"{worker.id} drains")
    return DONE
