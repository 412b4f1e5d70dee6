"""What a corpus of millions of documents costs who joins a TREC run with it: memory and time.

    python -m benchmarks.join --documents 10000000

A corpus in BEIR's layout (about 115 bytes a line), 2,000 queries, and a run of 10 candidates each
from anywhere in the corpus. Each step in a process of its own, without a model and without Redis:

  nothing  what the code needs by itself
  plan     the corpus and the queries indexed, the run cut into chunks
  chunks   every chunk read, joined and put away, with scores of 0
  merge    the parts into the output

Then `rerankq bulk` with one worker and the demo model, over a hundredth of such a corpus and, by
the same worker, over this one. Of each its time, and the most that it held: resident in all, and of
that what is its own; the rest is pages of files, which the system takes back when others need them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks import prose
from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.formats import reader
from rerankq.bulk.records import Record, Scored
from rerankq.bulk.spec import BatchSpec
from scripts.localsystem import DEMO_MODEL, LocalSystem
from worker.bulk import scoring
from worker.bulk.merging import merge

QUERIES, CANDIDATES = 2_000, 10
CHUNK_BYTES = 64 * 1024  # the least that a plan cuts: most chunks
LOOK_S = 0.05
# Not benchmarks.bulk's, which would bring the model stack into every step's process.
COMMAND = [sys.executable, "-c", "from rerankq.cli import main; raise SystemExit(main())"]
TEXTS = 10_007  # different ones; a document has its id in its text besides


@dataclass
class Held:
    """Most bytes of a process, and seconds of processor time."""

    resident: float = 0.0
    own: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        held = f"{self.resident / 1e6:.0f} MB resident, {self.own / 1e6:.0f} MB its own"
        return f"{self.cpu:.0f} s of a core, {held}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the files (default: the temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        for documents in (args.documents // 100, args.documents):
            write(folder / str(documents), documents)
        _steps(_spec(folder / str(args.documents)))
        _worker(folder, (args.documents // 100, args.documents))


def write(folder: Path, documents: int) -> None:
    """The corpus, the queries and the run."""
    rng = random.Random(7)
    folder.mkdir()
    texts = [" ".join(rng.choices(prose.WORDS, k=8)) for _ in range(TEXTS)]
    texts = [json.dumps(text)[1:-1] for text in texts]
    with (folder / "corpus.jsonl").open("w") as file:
        for n in range(documents):
            text = f"passage {n}: {texts[n % TEXTS]}"
            file.write(f'{{"_id": "msmarco_{n:09d}", "title": "", "text": "{text}"}}\n')
    size = (folder / "corpus.jsonl").stat().st_size
    print(f"{documents:,} documents, {size / 1e6:.0f} MB", flush=True)
    with (folder / "queries.jsonl").open("w") as file:
        for n in range(QUERIES):
            file.write(json.dumps({"_id": f"q{n}", "text": prose.query(rng)}) + "\n")
    with (folder / "in.run").open("w") as file:
        for n in range(QUERIES):
            for rank in range(1, CANDIDATES + 1):
                document = f"msmarco_{rng.randrange(documents):09d}"
                file.write(f"q{n} Q0 {document} {rank} {100 - rank} bm25\n")


def _spec(folder: Path) -> BatchSpec:
    given = str(folder / "in.run")
    return BatchSpec(
        input=given,
        input_format="trec",
        version=storage.stat(given).version,
        corpus=str(folder / "corpus.jsonl"),
        queries=str(folder / "queries.jsonl"),
        output=str(folder / "out.jsonl"),
        output_format="jsonl",
        errors=str(folder / "errors.jsonl"),
        work=str(folder / "work"),
    )


def _steps(spec: BatchSpec) -> None:
    for name, step in (("nothing", len), ("plan", _plan), ("chunks", _chunks), ("merge", _merge)):
        process = get_context("spawn").Process(target=step, args=(spec.model_dump_json(),))
        started = time.monotonic()
        process.start()
        assert process.pid is not None
        with _watched(process.pid) as held:
            process.join()
        if process.exitcode:
            raise SystemExit(f"{name} ended with {process.exitcode}")
        print(f"{name:8} {time.monotonic() - started:6.1f} s, {held}", flush=True)
    with open(spec.output) as file:
        told = [json.loads(line) for line in file]
    whole = len(told) == QUERIES and all(len(one["results"]) == CANDIDATES for one in told)
    print(f"{len(told)} records, {'all' if whole else 'NOT ALL'} with {CANDIDATES} results")
    size = Path(spec.work, "corpus.index").stat().st_size
    print(f"the index of the corpus: {size / 1e6:.0f} MB")


def _plan(told: str) -> None:
    spec = BatchSpec.model_validate_json(told)
    print(f"{sum(1 for _ in reader('trec').chunks(spec, CHUNK_BYTES))} chunks")


def _chunks(told: str) -> None:
    for name, chunk in _named(spec := BatchSpec.model_validate_json(told)):
        scoring.score(spec, chunk, name, _Zeros(), nullcontext)


def _named(spec: BatchSpec) -> Iterator[tuple[str, Chunk]]:
    for chunk in reader("trec").chunks(spec, CHUNK_BYTES):
        yield scoring.part_name(spec, chunk, "none"), chunk


def _merge(told: str) -> None:
    spec = BatchSpec.model_validate_json(told)
    found = (scoring.finished(spec, name) for name, _ in _named(spec))
    merge(spec, [part for part in found if part is not None], stopped=False)


class _Zeros:
    """A scorer without a model, which looks whether each text is its document's."""

    def __init__(self) -> None:
        self._scored: list[Scored] = []

    def add(self, record: Record) -> None:
        for name, text in zip(record.ids or (), record.documents, strict=True):
            assert text.startswith(f"passage {int(str(name).rpartition('_')[2])}:"), name
        zeros = [0.0] * len(record.documents)
        self._scored.append(Scored(record, zeros, [], len(zeros), "none", "none"))

    def results(self) -> list[Scored]:
        return self._scored


def _worker(folder: Path, sizes: tuple[int, ...]) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANKQ_")}
    # By start-up trials workers would choose budgets of their own, and need memory by them.
    fixed = {"RERANKQ_DTYPE": "float32", "RERANKQ_TOKEN_BUDGET": "4096"}
    system = LocalSystem(folder / "run", workers=1, env=environment | fixed)
    system.start()
    try:
        process = system.child("worker-1").process
        assert process is not None
        for documents in sizes:
            began = time.monotonic()
            with _watched(process.pid) as held:
                _command(system, _spec(folder / str(documents)), environment)
            seconds = time.monotonic() - began
            print(f"worker, {documents:,} documents: {seconds:.1f} s, {held}", flush=True)
    finally:
        system.stop()


def _command(system: LocalSystem, spec: BatchSpec, environment: dict[str, str]) -> None:
    own = {"RERANKQ_REDIS_URL": system.redis_url, "RERANKQ_MODEL": DEMO_MODEL}
    beside = ["--corpus", str(spec.corpus), "--queries", str(spec.queries)]
    line = [*COMMAND, "bulk", spec.input, spec.output, *beside, "--quiet", "--poll", "0.5"]
    subprocess.run(line, env=environment | own, check=True)


@contextmanager
def _watched(pid: int) -> Iterator[Held]:
    """Looks at a process's memory until the block ends."""
    held, over = Held(), threading.Event()

    def look() -> None:
        process = psutil.Process(pid)
        while not over.wait(LOOK_S):
            try:
                info, times = process.memory_info(), process.cpu_times()
            except psutil.NoSuchProcess:
                return
            held.cpu = times.user + times.system
            held.resident = max(held.resident, info.rss)
            held.own = max(held.own, info.rss - info.shared)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
