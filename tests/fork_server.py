"""Workers that tests start are forks of a process that has loaded torch and transformers.

Loading them is most of a worker's start, seconds of a core, and a run of all tests starts some 150.
A fork runs what `python -m worker` runs, from its first line on. The test process gives its orders
over a socket. The loaded process forks twice and the one in between ends: the worker is an orphan,
which the test process adopts. So it has a child like any other, to be waited for, with signals and
an exit code of its own.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Any other variable may have been read when all that was loaded. The last one it sets itself.
MAY_DIFFER = ("RERANKQ_", "PYTEST_", "AWS_", "FAULTY_", "KILLED_", "TORCHINDUCTOR_CACHE_DIR")
# A GPU's driver, once open, does not survive a fork.
POSSIBLE = sys.platform == "linux" and not any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd")))
Process = subprocess.Popen[bytes]


class Fork(Process):
    """A child of this process that another has forked for it."""

    def __init__(self, command: list[str], pid: int) -> None:
        self._forked = pid
        super().__init__(command)

    def _execute_child(self, *_: object) -> None:  # where a Popen would fork
        self.pid = self._forked
        self._child_created = True


class ForkServer:
    """Args: execute: as of `scripts.localsystem`; for what is no worker, or has other variables."""

    def __init__(self, execute: Callable[..., Process], load: str = "tests.loaded") -> None:
        self._execute, self._load = execute, load
        self._environment = self._fixed(os.environ)
        self._loaded: Process | None = None
        self._lock = threading.Lock()  # a supervisor restarts from a thread of its own

    @staticmethod
    def _fixed(env: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in env.items() if not name.startswith(MAY_DIFFER)}

    def start(
        self, command: list[str], env: dict[str, str], output: IO[Any], kept: tuple[int, ...] = ()
    ) -> Process:
        plain = command == [sys.executable, "-m", command[-1]] and not kept
        if not (POSSIBLE and plain and self._fixed(env) == self._environment):
            return self._execute(command, env, output, kept)
        with self._lock:
            if self._loaded is None or self._loaded.poll() is not None:
                self._loaded = self._begin()
            return Fork(command, self._order([command[-1], env], output))

    def close(self) -> None:
        if self._loaded is not None:
            self._orders.close()
            self._loaded.wait(10)

    def _begin(self) -> Process:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), self._load],
                cwd=Path(__file__).resolve().parent.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C is for the tests
                pass_fds=(theirs.fileno(),),
            )
        assert self._orders.recv(1), "torch and transformers cannot be loaded"
        return process

    def _order(self, what: object, output: IO[Any]) -> int:
        reading, writing = os.pipe()
        with open(reading) as answer:
            _prctl(PR_SET_CHILD_SUBREAPER, 1)
            try:
                with open(writing, "wb"):
                    files = [output.fileno(), writing]
                    socket.send_fds(self._orders, [json.dumps(what).encode()], files)
                return int(answer.read())
            finally:  # other orphans would stay here, dead and never waited for
                _prctl(PR_SET_CHILD_SUBREAPER, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def serve(orders: socket.socket) -> str:
    """Fork for each order; returns in each fork, with what it is to run."""
    orders.send(b".")  # ready
    while True:
        order, files, *_ = socket.recv_fds(orders, 1 << 20, 2)
        if not order:
            os._exit(0)  # the tests are over, and taking torch apart takes seconds
        between = os.fork()
        if between == 0:
            orders.close()
            module, env = json.loads(order)
            _become_orphan(env, *files)
            return str(module)
        os.waitpid(between, 0)
        for file in files:
            os.close(file)


def _become_orphan(env: dict[str, str], output: int, answer: int) -> None:
    """Return in another process, which is as if `execute` had started it."""
    between = os.getpid()
    if os.fork() != 0:
        os._exit(0)
    while os.getppid() == between:
        time.sleep(0.0005)
    # Now that it is adopted: the end of the one in between would count, too.
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.write(answer, str(os.getpid()).encode())
    os.close(output)
    os.close(answer)


if __name__ == "__main__":
    importlib.import_module(sys.argv[2])
    gc.freeze()
    sys.argv[:] = [serve(socket.socket(fileno=int(sys.argv[1])))]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
