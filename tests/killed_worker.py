"""A worker killed between taking its first message and booking it: `python -m tests.killed_worker`.

At the point where kombu books what it has popped, once for all workers on the same Redis.
With KILLED_TRANSPORT=redis it is kombu's own transport, and the message is nowhere any more.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from kombu.transport import redis as kombu_redis

from rerankq.ledger.connection import connect
from rerankq.ledger.keys import TASK_RERANK
from rerankq.settings import Settings
from worker import __main__, transport

MARK = "killed"


def dying(append: Any) -> Any:
    def append_or_die(self: Any, message: Any, delivery_tag: str) -> None:
        if message.headers["task"] == TASK_RERANK:
            with connect(Settings.from_env().redis_url) as redis:
                if redis.incr(MARK) == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
        append(self, message, delivery_tag)

    return append_or_die


if __name__ == "__main__":
    __main__.TRANSPORT = os.environ.get("KILLED_TRANSPORT", __main__.TRANSPORT)
    qos: Any = kombu_redis.QoS if __main__.TRANSPORT == "redis" else transport.QoS
    qos.append = dying(qos.append)
    sys.exit(__main__.main())
