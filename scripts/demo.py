"""`make demo`: start the whole system, rank a real example, show what happened, stop."""

from __future__ import annotations

import json
import re
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rerankq import Client, Document, Job
from scripts.localsystem import LocalSystem, StartFailed
from scripts.redis_server import NoRedis

EXAMPLE = Path("examples/howto.json")
RUN = Path(".run")
AT_ONCE = 40


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    RUN.mkdir(exist_ok=True)
    # One of its own: it may run beside `make up` and beside another demo.
    with tempfile.TemporaryDirectory(prefix="demo-", dir=RUN) as folder:
        return _show(Path(folder))


def _show(folder: Path) -> int:
    started = time.perf_counter()
    try:
        system = LocalSystem(folder)
        print("starting redis, api and worker with the demo model ...", flush=True)
        system.start()
    except (NoRedis, StartFailed) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        print(f"ready at {system.url} after {time.perf_counter() - started:.1f} s\n")
        with Client(system.url) as client:
            _rank(client)
            _share(client, str(system.child("worker-1").probe))
    finally:
        system.stop()
    print("\nstopped. `make up` keeps it running.")
    return 0


def _rank(client: Client) -> None:
    example = json.loads(EXAMPLE.read_text())
    documents = [Document(**document) for document in example["documents"]]
    job = client.wait(client.submit(example["query"], documents, return_documents=True).id)
    print(f"query: {example['query']}\n")
    print("  #   score  document")
    for place, result in enumerate(job.results or [], 1):
        text = result.document.text if result.document else ""
        print(f"{place:3}  {result.relevance_score:6.3f}  {text[:88]}")
    print(f"\n{_stages(job)}  ({job.usage.total_tokens} tokens, {job.model.id})")


def _stages(job: Job) -> str:
    queued, scoring = job.timing.queued_s or 0.0, job.timing.scoring_s or 0.0
    return (
        f"queued {queued * 1000:.0f} ms, scored {scoring * 1000:.0f} ms, "
        f"total {(queued + scoring) * 1000:.0f} ms"
    )


def _share(client: Client, probe: str) -> None:
    """Many small jobs at once: the worker fills its batches across them."""
    example = json.loads(EXAMPLE.read_text())
    texts = [document["text"] for document in example["documents"]]
    before = _batches(probe)
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        submitted = pool.map(
            lambda n: client.submit(f"{texts[n % len(texts)]}", texts), range(AT_ONCE)
        )
        jobs = [client.wait(job.id) for job in list(submitted)]
    seconds = time.perf_counter() - started
    batches, shares, pairs = (after - b for after, b in zip(_batches(probe), before, strict=True))
    waits = statistics.median((job.timing.queued_s or 0) * 1000 for job in jobs)
    print(
        f"\n{AT_ONCE} jobs of {len(texts)} documents at once: {seconds:.2f} s, median wait in the "
        f"queue {waits:.0f} ms;\n{pairs:.0f} pairs in {batches:.0f} batches, "
        f"on average {shares / batches:.1f} jobs shared a batch"
    )


def _batches(probe: str) -> tuple[float, float, float]:
    """Batches so far, jobs summed over them, pairs."""
    with urllib.request.urlopen(f"{probe}/metrics") as answer:  # noqa: S310
        text = answer.read().decode()
    return tuple(  # type: ignore[return-value]
        float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in (
            "rerankq_batch_jobs_count",
            "rerankq_batch_jobs_sum",
            "rerankq_pairs_scored_total",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
