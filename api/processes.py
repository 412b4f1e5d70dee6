"""Several API processes on one port: started, replaced when they die, ended together.

They share a listening socket, so that a connection that waits for a process that dies is another's.
Each is a program of its own and not a fork: libraries have threads by then.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from types import FrameType
from typing import NamedTuple

import uvicorn
from prometheus_client import multiprocess

from api import replica
from rerankq import startup

log = logging.getLogger(__name__)

RESTART_PAUSE_S = 1.0  # at least so long between two starts in one place
STOPPED_WITHIN_S = 12  # more than a process gives to its last requests and its own end
_FOR_GOOD = (startup.EXIT_USAGE, startup.EXIT_NOT_STARTED)


def supervise(count: int, host: str, port: int) -> int:
    """Keep so many processes serving until SIGTERM; the exit status.

    Raises: SystemExit: the port is not to be had.
    """
    config = uvicorn.Config("api", host=host, port=port, log_config=None)
    listener = config.bind_socket()
    # Not 0, which it has if this process was given no stdin: that is where theirs lies.
    shared = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 3)
    with tempfile.TemporaryDirectory(prefix="rerankq-metrics-") as folder:
        return _Supervisor(shared, folder).run(count)


def end_with_supervisor() -> None:
    """Stop this process, one of several, when the one that started it is gone."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)  # nobody writes: this returns at its end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


class _Process(NamedTuple):
    """One of the processes: its place among them, and when it was started, by `time.monotonic`."""

    place: int
    started: float


class _Supervisor:
    """The processes by their ids. What happens to them it learns from the system alone."""

    def __init__(self, listener: int, metrics: str) -> None:
        self._command = [sys.executable, "-m", "api", "--socket", str(listener)]
        self._metrics = metrics
        self._lifeline, self._held = os.pipe()  # the second ends with this process
        self._started: dict[int, _Process] = {}
        self._all_new = True
        self._stopping = False
        self._status = 0

    def run(self, count: int) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_alarm)
        for place in range(count):
            self._start(place)
        while self._started:
            pid, status = os.wait()
            if pid in self._started:  # a container's first process inherits others' children
                self._ended(pid, os.waitstatus_to_exitcode(status))
        return self._status

    def _start(self, place: int) -> None:
        # A signal between the start and the note of it would not reach the new one.
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            if not self._stopping:
                pid = os.posix_spawn(
                    sys.executable,
                    self._command,
                    os.environ
                    | {replica.FOLDER_VARIABLE: self._metrics, replica.PLACE_VARIABLE: str(place)},
                    file_actions=[(os.POSIX_SPAWN_DUP2, self._lifeline, 0)],
                    setsigmask=[],
                )
                self._started[pid] = _Process(place, time.monotonic())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def _ended(self, pid: int, status: int) -> None:
        ended = self._started.pop(pid)
        multiprocess.mark_process_dead(ended.place, self._metrics)
        if self._stopping:
            return
        if self._all_new and status in _FOR_GOOD:  # it has said why, and another would say the same
            self._status = status
            self._stop()
            return
        log.error("an API process ended", extra={"pid": pid, "code": status})
        self._all_new = False
        time.sleep(max(0.0, RESTART_PAUSE_S - (time.monotonic() - ended.started)))
        self._start(ended.place)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._signal_all(signal.SIGTERM)
        signal.alarm(STOPPED_WITHIN_S)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in tuple(self._started):
            os.kill(pid, number)  # not reaped before it is out of the list: never another's id
