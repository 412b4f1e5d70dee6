"""`rerankq bulk INPUT OUTPUT`: a whole file scored; the same command again goes on with it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any, get_args

from rerankq.bulk import storage
from rerankq.bulk.command import estimate, order, summary
from rerankq.bulk.command.begin import begin
from rerankq.bulk.command.notes import Notes
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.progress import Bar, Progress
from rerankq.bulk.command.service import Service
from rerankq.bulk.command.state import BatchState
from rerankq.bulk.command.through_api import ThroughApi, is_meant
from rerankq.bulk.command.watch import interruptible, patiently, until_final
from rerankq.bulk.spec import InputFormat, OutputFormat
from rerankq.errors import RerankqError
from rerankq.fields import MAX_EXPIRES_IN
from rerankq.operator import Operator

DONE, FAILED = 0, 1
RETRY_FOR_S = 5.0  # a person waits
DEFAULT_EXPIRES_IN_S = 24 * 3600
POLL_S = 2.0
_OF_ORDER = (
    *("input_format", "output_format", "corpus", "queries", "errors", "model", "expires_in"),
    *("top_k", "depth", "tag", "instruction", "raw_scores", "return_documents", "partitioned"),
    "max_errors",
)


def add(verbs: Any, form: argparse.ArgumentParser) -> None:
    """Put the verb's parser among the others."""
    bulk = verbs.add_parser(
        "bulk",
        help="score a whole file",
        parents=[form],
        description="Score a file of queries and candidates. The same command again goes on with "
        "what it began, or says that it is done.",
    )
    bulk.add_argument("input", help="a path or an fsspec URL")
    bulk.add_argument("output", help="likewise; with --partitioned a folder")
    _add_forms(bulk)
    _add_scoring(bulk)
    _add_course(bulk)
    bulk.set_defaults(run=_run)


def _add_forms(bulk: argparse.ArgumentParser) -> None:
    bulk.add_argument(
        "--input-format", choices=get_args(InputFormat), help="default: by the name's ending"
    )
    bulk.add_argument(
        "--output-format", choices=get_args(OutputFormat), help="default: by the name's ending"
    )
    bulk.add_argument("--corpus", help="of a TREC run: BEIR's corpus.jsonl")
    bulk.add_argument("--queries", help="of a TREC run: BEIR's queries.jsonl")
    bulk.add_argument("--partitioned", action="store_true", default=None, help="a part a chunk")
    bulk.add_argument("--errors", metavar="FILE", help="default: OUTPUT.errors.jsonl")
    bulk.add_argument("--tag", help="the last column of a TREC run that is written")


def _add_scoring(bulk: argparse.ArgumentParser) -> None:
    bulk.add_argument("--top-k", type=_count, help="write the best k only")
    bulk.add_argument("--depth", type=_count, help="score the first so many candidates only")
    bulk.add_argument("--instruction")
    bulk.add_argument("--raw-scores", action="store_true", default=None, help="log-odds")
    bulk.add_argument("--return-documents", action="store_true", default=None)
    bulk.add_argument(
        "--max-errors", type=_count_or_none, metavar="N", help="fail after more bad lines than this"
    )
    bulk.add_argument("--model", help="by which model (default: the default one)")


def _add_course(bulk: argparse.ArgumentParser) -> None:
    bulk.add_argument(
        "--dry-run", action="store_true", help="what would it come to? starts nothing"
    )
    bulk.add_argument("--force", action="store_true", help="score again what is done already")
    bulk.add_argument(
        "--expires-in",
        type=_seconds,
        default=DEFAULT_EXPIRES_IN_S,
        metavar="S",
        help="give the batch up after this (default: a day)",
    )
    bulk.add_argument(
        "--poll",
        type=_seconds,
        default=POLL_S,
        metavar="S",
        help="at most between looks (default: 2)",
    )
    bulk.add_argument(
        "--give-up-after",
        type=_seconds,
        metavar="S",
        help="stop waiting for a service that is away (default: never; the batch goes on)",
    )
    bulk.add_argument("--quiet", action="store_true", help="no progress, no summary")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _count_or_none(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= MAX_EXPIRES_IN:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {MAX_EXPIRES_IN}")
    return number


def service_for(client: Operator, url: str | None, model: str | None) -> Service:
    """Redis if it alone is named, else the API.

    Raises: SettingsError, UsageError.
    """
    if is_meant(url):
        return ThroughApi(client)
    # redis-py takes longer to import than the rest of the command.
    from rerankq.bulk.command.through_redis import ThroughRedis
    from rerankq.settings import Settings

    return ThroughRedis(Settings.from_env(), model, RETRY_FOR_S)


def _run(client: Operator, args: argparse.Namespace) -> int:
    asked = order.make(args.input, args.output, **{name: getattr(args, name) for name in _OF_ORDER})
    service = service_for(client, args.url, asked.model)
    if args.dry_run:
        return _estimate(service, asked, args)
    order.check_writable(asked)
    service.check(asked)
    shown = not args.quiet and sys.stderr.isatty()
    progress = Bar(sys.stderr) if shown else Progress()
    try:
        return _score(service, asked, args, progress)
    except OSError as error:
        # Files were looked at before anything was begun: this is no slip of the caller's.
        print(f"rerankq: {error}", file=sys.stderr)
        return FAILED
    finally:
        progress.clear()


def _score(service: Service, asked: Order, args: argparse.Namespace, progress: Progress) -> int:
    notes = Notes(asked)
    try:
        with interruptible() as check:
            begun = begin(service, asked, notes, force=args.force, sent=progress.sent)
            if begun.how == "done" and begun.state is not None:
                return _end(begun.state, asked, args, f"it is done already, by {begun.batch_id}")
            patience: dict[str, Any] = {"poll": args.poll, "give_up_after": args.give_up_after}
            final = until_final(service, begun.batch_id, progress, check=check, **patience)
            state = patiently(lambda: service.fetch(final, asked), progress, **patience)
    except KeyboardInterrupt:
        progress.clear()
        _say(*_how_to_go_on(notes.batch))
        raise
    progress.clear()
    if state.phase == "completed":
        notes.forget()  # or what was uploaded is of use to the next try
    return _end(state, asked, args)


def _how_to_go_on(batch_id: str | None) -> list[str]:
    if batch_id is None:
        return ["no batch was started, or only just: the same command goes on from here"]
    return [
        f"{batch_id} goes on",
        "the same command watches it again and fetches its output",
        f"rerankq batches status {batch_id}",
        f"rerankq batches cancel {batch_id}",
    ]


def _end(state: BatchState, asked: Order, args: argparse.Namespace, *said: str) -> int:
    if said:
        errors = asked.spec.errors if state.bad else None
        state = replace(state, output=asked.spec.output, errors=errors)
    elif not state.bad:
        _drop_stale_errors(asked)
    if args.json:
        print(json.dumps({**state.as_json(), "already": bool(said)}))
    if state.phase != "completed":
        _say(*summary.lines(state))
        return FAILED
    if not args.quiet:
        _say(*said, *summary.lines(state))
    return DONE


def _drop_stale_errors(asked: Order) -> None:
    """An earlier run's: this one found no bad line."""
    path = storage.local_path(asked.spec.errors)
    if path is not None:
        path.unlink(missing_ok=True)


def _estimate(service: Service, asked: Order, args: argparse.Namespace) -> int:
    capacity = None
    try:
        capacity = service.capacity(asked.model)
    except RerankqError as error:
        _say(f"how long it would take is not known: {error}")
    found = estimate.of(asked, capacity)
    print(json.dumps(found.as_json()) if args.json else found.table())
    return DONE


def _say(*lines: str) -> None:
    for line in lines:
        print(f"rerankq: {line}", file=sys.stderr)
