"""A worker that some documents kill, hang or break: `python -m tests.faulty_worker`.

The real worker with faults put into its engine. What a document's text says happens:
  KILL ON DEVICE, KILL IN TOKENIZER   the process is SIGKILLed there
  HANG ON DEVICE                      the launch never returns
  BREAK DEVICE                        the device is poisoned, as by an illegal access
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from worker import __main__, device
from worker.engine.hosted import HostedEngine
from worker.engine.interface import EngineBroken, Launch, Pair

_encode, _prepare = HostedEngine.encode, HostedEngine.prepare
_faults: dict[tuple[int, ...], str] = {}  # ids of a pair -> what its document says
_ON_DEVICE = ("KILL ON DEVICE", "HANG ON DEVICE", "BREAK DEVICE")


def encode(
    self: HostedEngine,
    query: str,
    instruction: str | None,
    documents: Sequence[str],
    document_tokens: int | None = None,
) -> list[Pair]:
    if any("KILL IN TOKENIZER" in document for document in documents):
        os.kill(os.getpid(), signal.SIGKILL)
    pairs = _encode(self, query, instruction, documents, document_tokens)
    for pair, document in zip(pairs, documents, strict=True):
        for fault in _ON_DEVICE:
            if fault in document:
                _faults[pair.own] = fault
    return pairs


def prepare(self: HostedEngine, pairs: Sequence[Pair]) -> Launch:
    launch = _prepare(self, pairs)
    faults = [_faults[pair.own] for pair in pairs if pair.own in _faults]
    return Launch(lambda: happen(faults[0])) if faults else launch


def happen(fault: str) -> NoReturn:
    if fault == "BREAK DEVICE":
        raise EngineBroken("an illegal memory access was encountered")
    if fault == "KILL ON DEVICE":
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()
    raise AssertionError("unreachable")


if __name__ == "__main__":
    HostedEngine.encode = encode  # type: ignore[method-assign]
    HostedEngine.prepare = prepare  # type: ignore[method-assign]
    device.LEAST_PATIENCE_S = float(os.environ.get("FAULTY_PATIENCE_S", "2"))
    device.FIRST_PATIENCE_S = device.LEAST_PATIENCE_S
    device.PATIENCE = 0
    sys.exit(__main__.main())
