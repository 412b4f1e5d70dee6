"""A process that says what it is, then ends as it is told to: `python -m tests.about_itself`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers")
# What has to be imported by the worker itself: it reads its environment, or is what is tested.
ITS_OWN = ("rerankq", "worker", "api", "scripts", "celery", "kombu", "prometheus_client")
PR_GET_PDEATHSIG = 2


def about_itself() -> dict[str, Any]:
    told_at_death = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(told_at_death))
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "name": __name__,
        "arguments": sys.argv,
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "leads its group": os.getpgrp() == os.getpid(),
        "told at its parent's death": told_at_death.value,
        "signals": [line for line in status if line.startswith(("SigBlk", "SigIgn"))],
        "handled": [n for n in signal.valid_signals() if callable(signal.getsignal(n))],
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "files": sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        "input": os.readlink("/proc/self/fd/0"),
        "output": [os.readlink(f"/proc/self/fd/{standard}") for standard in (1, 2)],
        "buffered": [sys.stdout.line_buffering, sys.stderr.line_buffering],
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "its own": sorted(name for name in sys.modules if name.split(".")[0] in ITS_OWN),
        "loaded": [name for name in LIBRARIES if name in sys.modules],
    }


if __name__ == "__main__":
    print(json.dumps(about_itself()), flush=True)
    ends = os.environ["RERANKQ_ENDS"]
    if ends == "waiting":
        signal.pause()
    elif ends == "failing":
        raise RuntimeError("as it was told to")
    sys.exit(int(ends))
