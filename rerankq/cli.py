"""The command line: submit, status, cancel, retry, queue.

Files: cli_bulk, cli_batches, cli_eval. Operators' verbs: cli_operate.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

import rerankq
from rerankq import cli_batches, cli_bulk, cli_eval, cli_operate
from rerankq.client import Client
from rerankq.errors import ConnectionFailed, RerankqError, SettingsError, UsageError
from rerankq.operator import Operator
from rerankq.schema import Document, Job, QueueView
from rerankq.status import JobStatus, Lane

RETRY_FOR_S = 5.0  # a person waits
DONE, FAILED, USAGE, OUT_OF_REACH, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """\
exit codes: 0 done; 1 the job failed or was refused; 2 wrong usage; 3 the service is out of reach"""


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        with Operator(args.url, retry_for=RETRY_FOR_S) as client:
            code = int(args.run(client, args))
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except ConnectionFailed as error:
        return _complain(error, OUT_OF_REACH)
    except (OSError, UnicodeDecodeError, UsageError, SettingsError) as error:
        return _complain(error, USAGE)
    except RerankqError as error:
        return _complain(error, FAILED)


def _complain(error: Exception, code: int) -> int:
    print(f"rerankq: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerankq", description="Rank documents for a query.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"rerankq {rerankq.__version__}")
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--json", action="store_true", help="one JSON object, for machines")
    form.add_argument("--url", help="of the service (default: RERANKQ_URL)")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    submit = verbs.add_parser("submit", help="hand a job over", parents=[form])
    submit.add_argument("query")
    submit.add_argument(
        "files", nargs="+", help="a document each; -: one from each line of stdin that is not blank"
    )
    submit.add_argument("--wait", action="store_true", help="until it is final; print the ranking")
    submit.add_argument("--lane", choices=[*map(str, Lane)], default="interactive")
    submit.add_argument("--instruction")
    submit.add_argument("--top-n", type=int)
    submit.add_argument("--model", help="by which model (default: the default one)")
    submit.set_defaults(run=_submit)

    for verb, run, words in (
        ("status", _status, "show a job"),
        ("cancel", _cancel, "withdraw it"),
        ("retry", _retry, "try one that failed once more, as a new job"),
    ):
        sub = verbs.add_parser(verb, help=words, parents=[form])
        sub.add_argument("id")
        sub.set_defaults(run=run)

    queue = verbs.add_parser("queue", help="what waits and what is in flight", parents=[form])
    queue.add_argument("--model", help="of this model (default: of all together)")
    queue.set_defaults(run=_queue)
    cli_bulk.add(verbs, form)
    cli_batches.add(verbs, form)
    cli_eval.add(verbs, form)
    cli_operate.add(verbs, form)
    return parser


def _submit(client: Client, args: argparse.Namespace) -> int:
    documents = [document for name in args.files for document in _documents(name)]
    job = client.submit(
        args.query,
        documents,
        lane=args.lane,
        instruction=args.instruction,
        top_n=args.top_n,
        model=args.model,
    )
    if args.wait:
        try:
            job = client.wait(job.id)
        except KeyboardInterrupt:
            print(f"{job.id} goes on: rerankq status {job.id}", file=sys.stderr)
            raise
    _print(job, args.json, _job_text(job))
    return _code(job)


def _documents(name: str) -> list[str | Document]:
    if name == "-":
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    return [Document(text=Path(name).read_text(encoding="utf-8"), id=name)]


def _status(client: Client, args: argparse.Namespace) -> int:
    job = client.get(args.id)
    _print(job, args.json, _job_text(job))
    return _code(job)


def _cancel(client: Client, args: argparse.Namespace) -> int:
    job = client.cancel(args.id)
    _print(job, args.json, _job_text(job))
    return DONE


def _retry(client: Client, args: argparse.Namespace) -> int:
    job = client.retry(args.id)
    _print(job, args.json, _job_text(job))
    return DONE


def _queue(client: Client, args: argparse.Namespace) -> int:
    queue = client.queue(args.model)
    _print(queue, args.json, _queue_text(queue))
    return DONE


def _print(value: BaseModel, as_json: bool, text: str) -> None:
    print(value.model_dump_json() if as_json else text)


def _code(job: Job) -> int:
    return FAILED if job.status.final and job.status is not JobStatus.SUCCEEDED else DONE


def _job_text(job: Job) -> str:
    lines = [f"{job.id} {job.status} {job.progress.scored}/{job.progress.total}"]
    if job.error:
        lines.append(f"{job.error.code}: {job.error.detail}")
    for place, result in enumerate(job.results or [], 1):
        lines.append(f"{place:4} {result.relevance_score:8.5f}  {result.id or result.index}")
    return "\n".join(lines)


def _queue_text(queue: QueueView) -> str:
    lines = ["lane         waiting  in flight  oldest"]
    for lane, view in queue.lanes.items():
        oldest = "-" if view.oldest_s is None else f"{view.oldest_s:.1f} s"
        paused = "  paused" if view.paused else ""
        lines.append(f"{lane:12} {view.waiting:7} {view.in_flight:10}  {oldest}{paused}")
    drain = "unknown" if queue.drain_s is None else f"{queue.drain_s:.1f} s"
    return "\n".join([*lines, f"{queue.workers} workers ready, drained in {drain}"])


if __name__ == "__main__":
    sys.exit(main())
