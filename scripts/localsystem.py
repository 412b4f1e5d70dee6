"""The whole system on one machine: Redis, one API process, workers; restarted when they die."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from scripts.redis_server import answers, command, find_server, free_port, is_free

ROOT = Path(__file__).resolve().parent.parent
DEMO_MODEL = "models/demo"
STARTED_WITHIN_S = 60.0  # Redis and the APIs; a worker may have gigabytes to download first
STOPPED_WITHIN_S = 15.0
CLAIMED_WITHIN_S = 3.0  # one that was just killed may still be ending
TICK_S = 0.2
RESTART_PAUSE_S = 1.0
PR_SET_PDEATHSIG = 1

# As `execute` does; tests have a faster way for workers.
Start = Callable[..., subprocess.Popen[bytes]]


class StartFailed(Exception):
    """A process ended, or did not become ready in time; the message names it and its log."""


@dataclass
class Child:
    """One process: how to start it, how to tell that it is ready."""

    name: str
    command: list[str]
    env: dict[str, str]
    ready: Callable[[], bool]
    probe: str | None = None
    patience_s: float = STARTED_WITHIN_S
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def execute(
    command: list[str], env: dict[str, str], output: IO[Any], kept: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that writes to `output` and inherits the descriptors `kept`."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # A Ctrl-C is for this process alone: it stops the others in order.
        process_group=0,
        preexec_fn=_die_with_parent,
        pass_fds=kept,
    )


def _die_with_parent() -> None:
    # Linux: a supervisor that is killed outright leaves no orphans.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class LocalSystem:
    """Starts, watches and stops the processes, and keeps `state.json` true.

    Args:
        folder: of Redis's data, the logs, `state.json`, and uploaded files if the environment has
            no place for them.
        env: the environment of the children; its RERANKQ_* variables are honoured, so that with
            RERANKQ_REDIS_URL no Redis is started.
        log_to_files: into `folder/logs` instead of this process's stderr.
        workers: of the default model; there is one of each further model, too.
        api_processes: of each API, behind its port.
        worker_module: what `python -m` starts as a worker.
        start: how each process is started.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        workers: int = 1,
        apis: int = 1,
        api_processes: int = 1,
        env: Mapping[str, str] | None = None,
        log_to_files: bool = True,
        worker_module: str = "worker",
        start: Start = execute,
    ) -> None:
        self.folder = folder.resolve()
        self._env = dict(os.environ if env is None else env)
        self._env.setdefault("RERANKQ_MODEL", DEMO_MODEL)
        self._env.setdefault("RERANKQ_STORAGE_URL", str(self.folder / "storage"))
        self._log_to_files = log_to_files
        self._worker_module = worker_module
        self._start = start
        self._api_processes = api_processes
        self._stopping = False
        self._claim: IO[str] | None = None
        self.redis_url = self._env.get("RERANKQ_REDIS_URL", "")
        self.children: list[Child] = []
        if not self.redis_url:
            self.children.append(self._redis())
        self._env["RERANKQ_REDIS_URL"] = self.redis_url
        self.urls: list[str] = []
        self._ports: list[int] = []
        for number in range(1, apis + 1):
            self.children.append(self._api(number, (number == 1 and port) or free_port()))
        self.url = self.urls[0]
        further = [name.strip() for name in self._env.get("RERANKQ_MODELS", "").split(",")]
        models = [self._env["RERANKQ_MODEL"]] * workers + [name for name in further if name]
        self.children += [self._worker(n, model) for n, model in enumerate(models, 1)]

    def start(self) -> None:
        """Start everything; returns when all of it is ready.

        Raises: StartFailed, after stopping what had started.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_surroundings()
        self._claim_folder()
        try:
            # Redis first: the others look for it at once. The rest starts side by side.
            for group in (self.children[:1], self.children[1:]):
                for child in group:
                    self.spawn(child)
                for child in group:
                    self._await(child)
        except BaseException:
            self.stop()
            raise
        self.write_state()

    def watch(self) -> None:
        """Restart what dies, until interrupted or stopped."""
        while not self._stopping:
            for child in self.children:
                if not child.alive and time.monotonic() - child.started > RESTART_PAUSE_S:
                    code = child.process.returncode if child.process else None
                    print(f"{child.name} ended with {code}; restarting", file=sys.stderr)
                    self.spawn(child)
                    self.write_state()
            time.sleep(TICK_S)

    def stop(self) -> None:
        """Workers hand their work back, the API ends its requests, then Redis saves."""
        self._stopping = True
        for group in (self.children[1:], self.children[:1]):
            for child in group:
                if child.alive and child.process:
                    child.process.terminate()
            deadline = time.monotonic() + STOPPED_WITHIN_S
            for child in group:
                self._reap(child, deadline)
        if self._claim is not None:  # or it is another system's
            (self.folder / "state.json").unlink(missing_ok=True)
            self._claim.close()

    def _check_surroundings(self) -> None:
        """What is there already would answer in our place, or for ever not at all."""
        for port in self._ports:
            if not is_free(port):
                raise StartFailed(f"port {port} is taken by another process")
        if self.children[0].name != "redis" and not answers(self.redis_url):
            raise StartFailed("RERANKQ_REDIS_URL=(hidden): no Redis answers there")

    def _claim_folder(self) -> None:
        """Two servers on one append-only file would destroy it.

        Redis inherits the lock, so that it is held for as long as one writes here, even if this
        process is killed outright.
        """
        lock = (self.folder / "lock").open("w")
        deadline = time.monotonic() + CLAIMED_WITHIN_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._claim = lock
                return
            except OSError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise StartFailed(f"another system runs in {self.folder}") from None
            time.sleep(TICK_S)

    def child(self, name: str) -> Child:
        return next(child for child in self.children if child.name == name)

    def write_state(self) -> None:
        processes = [
            {"name": child.name, "pid": child.process.pid, "probe": child.probe}
            for child in self.children
            if child.process
        ]
        state = {"url": self.url, "redis_url": self.redis_url, "processes": processes}
        draft = self.folder / "state.json.new"
        draft.write_text(json.dumps(state, indent=2) + "\n")
        draft.replace(self.folder / "state.json")

    def _redis(self) -> Child:
        port = free_port()
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        line = command(find_server(), self.folder / "redis", port)
        return Child("redis", line, dict(self._env), lambda: answers(self.redis_url))

    def _api(self, number: int, port: int) -> Child:
        url = f"http://127.0.0.1:{port}"
        self.urls.append(url)
        self._ports.append(port)
        name = "api" if number == 1 else f"api-{number}"
        line = [sys.executable, "-m", "api", "--port", str(port)]
        if self._api_processes > 1:
            line += ["--workers", str(self._api_processes)]
        return Child(name, line, dict(self._env), lambda: _ok(f"{url}/readyz"))

    def _worker(self, number: int, model: str) -> Child:
        given = self._env.get("RERANKQ_METRICS_PORT")
        port = int(given) + number - 1 if given and given != "0" else free_port()
        self._ports.append(port)
        probe = f"http://127.0.0.1:{port}"
        env = self._env | {"RERANKQ_METRICS_PORT": str(port), "RERANKQ_MODEL": model}
        line = [sys.executable, "-m", self._worker_module]
        ready = lambda: _ok(f"{probe}/readyz")  # noqa: E731
        return Child(f"worker-{number}", line, env, ready, probe, patience_s=float("inf"))

    def spawn(self, child: Child) -> None:
        """Start one process, which must not be running."""
        log = None
        if self._log_to_files:
            logs = self.folder / "logs"
            logs.mkdir(exist_ok=True)
            log = (logs / f"{child.name}.log").open("ab")
        kept = (self._claim.fileno(),) if self._claim and child.name == "redis" else ()
        child.process = self._start(child.command, child.env, log or sys.stderr, kept)
        child.started = time.monotonic()
        if log:
            log.close()

    def _await(self, child: Child) -> None:
        deadline = time.monotonic() + child.patience_s
        while not child.ready():
            if not child.alive or time.monotonic() > deadline:
                why = "ended" if not child.alive else f"is not ready after {child.patience_s:g} s"
                raise StartFailed(f"{child.name} {why}{self._last_words(child)}")
            time.sleep(0.05)

    def _last_words(self, child: Child) -> str:
        if not self._log_to_files:
            return "; its own last line says why"
        path = self.folder / "logs" / f"{child.name}.log"
        return f":\n{path.read_text()[-2000:]}" if path.exists() else ""

    @staticmethod
    def _reap(child: Child, deadline: float) -> None:
        if child.process is None:
            return
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
