"""The real worker process with a simulated device: `python -m benchmarks.scaling.worker`.

All of `python -m worker` but what loads a model: the two modules that import torch are replaced
before anything imports them. SIMULATED_BATCH_MS is what a batch of RERANKQ_TOKEN_BUDGET takes.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from benchmarks.scaling.device import SimulatedDevice
from rerankq.settings import Settings


class SelfTestFailed(Exception):
    """Never raised: there is no model to test."""


def host(settings: Settings) -> SimulatedDevice:
    batch_s = float(os.environ["SIMULATED_BATCH_MS"]) / 1000
    return SimulatedDevice(settings.token_budget, batch_s)


def stand_in() -> None:
    """From now on whoever imports what loads a model gets a device that needs none."""
    _replace("worker.engine.hosted", host=host)
    _replace("worker.engine.golden", SelfTestFailed=SelfTestFailed)


def _replace(name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


if __name__ == "__main__":
    stand_in()
    from worker.__main__ import main

    code = main()
    sys.stdout.flush()
    os._exit(code)  # as the worker itself does: threads of Celery's pool would keep it
