"""One run: the systems, each client's environment, its script, its examples."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import rerankq
from scripts.environments import InstallFailed, python_in
from scripts.localsystem import ROOT, LocalSystem
from tests.clients.checks import ALIASES, Outcome, Situation
from tests.clients.examples import examples

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / ".venv" / "clients"
NAMES = ("cohere", "langchain", "llamaindex", "haystack", "litellm", "voyageai")
KEY = "the-key-of-a-client"
ENDS_WITHIN_S = 180.0
# Nothing of theirs leaves this machine: no telemetry, no price lists, no look at a hub.
OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
}


def run(folder: Path, names: Sequence[str]) -> list[Outcome]:
    """Every check of every client of these environments, two environments at a time."""
    pythons, outcomes = _installed(names)
    with _systems(folder) as situation, ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda name: _environment(name, pythons[name], situation), pythons):
            outcomes += found
    return outcomes


def _installed(names: Sequence[str]) -> tuple[dict[str, Path], list[Outcome]]:
    pythons: dict[str, Path] = {}
    failed: list[Outcome] = []
    with ThreadPoolExecutor(2) as pool:
        made = {name: pool.submit(_python_of, name) for name in names}
    for name, python in made.items():
        try:
            pythons[name] = python.result()
        except InstallFailed as error:
            failed.append(Outcome(name, "installed", "FAILED", str(error)))
    return pythons, failed


def _python_of(name: str) -> Path:
    return python_in(ENVIRONMENTS / name, HERE / "requirements" / f"{name}.txt")


@contextmanager
def _systems(folder: Path) -> Iterator[Situation]:
    """One with a worker, and one whose backlog is full because it has none."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")}
    own |= {
        "RERANKQ_API_KEYS": f"clients {KEY}",
        "RERANKQ_MODEL_ALIASES": ",".join(ALIASES),
        "RERANKQ_TOKEN_BUDGET": "2048",
        "RERANKQ_LOG_LEVEL": "warning",
    }
    ranks = LocalSystem(folder / "ranks", env=own)
    full = LocalSystem(folder / "full", workers=0, env=own | {"RERANKQ_MAX_BACKLOG": "1"})
    try:
        ranks.start()
        full.start()
        yield situation(ranks.url, full.url, full.url, KEY)
    finally:
        full.stop()
        ranks.stop()


def situation(url: str, locked_url: str, full_url: str, key: str) -> Situation:
    """What the clients are asked, its true ranking; `full_url`'s backlog is filled."""
    example = json.loads((ROOT / "examples" / "howto.json").read_text())
    query, documents = example["query"], [document["text"] for document in example["documents"]]
    with rerankq.Client(url, api_key=key) as client:
        job = client.wait(client.submit(query, documents).id)
    with rerankq.Client(full_url, api_key=key) as client:
        client.submit(query, documents)
    ranking = [(result.index, result.relevance_score) for result in job.results or []]
    return Situation(url, locked_url, full_url, key, query, documents, ranking)


def _environment(name: str, python: Path, situation: Situation) -> list[Outcome]:
    done = _run([str(python), "-m", f"tests.clients.callers.{name}"], json.dumps(asdict(situation)))
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    outcomes = [Outcome(**json.loads(line)) for line in lines]
    if done.returncode != 0:
        outcomes.append(Outcome(name, "script", "FAILED", _last_words(done)))
    for code in examples(name, situation.url, situation.key):
        done = _run([str(python), "-c", code])
        wrong = _last_words(done) if done.returncode != 0 else ""
        outcomes.append(Outcome(name, "example", "FAILED" if wrong else "ok", wrong))
    return outcomes


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit code {done.returncode}: {done.stderr[-2000:]}"


def _run(command: Sequence[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | OFFLINE,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
        )
    except subprocess.TimeoutExpired as slow:
        told = slow.stdout or b""
        said = told.decode() if isinstance(told, bytes) else told
        return subprocess.CompletedProcess(command, 1, said, f"not over in {ENDS_WITHIN_S:g} s")
