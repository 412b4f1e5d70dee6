"""`make up`: the system in the foreground until Ctrl-C or SIGTERM.

Environment: PORT (8000, else the next free one), WORKERS (1), MODEL (the demo model), and every
RERANKQ_* variable.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from scripts.localsystem import LocalSystem, StartFailed
from scripts.redis_server import NoRedis

DEFAULT_PORT = 8000


def main() -> int:
    env = dict(os.environ)
    if env.get("MODEL"):
        env["RERANKQ_MODEL"] = env["MODEL"]
    env.setdefault("RERANKQ_LOG_FORMAT", "text")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        system = LocalSystem(
            Path(".run"),
            port=_port(_number(env, "PORT")),
            workers=_number(env, "WORKERS") or 1,
            env=env,
            log_to_files=False,
        )
        system.start()
        print(f"rerankq is up at {system.url} (try {system.url}/docs); Ctrl-C stops it", flush=True)
        system.watch()
    except (NoRedis, StartFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        system.stop()
    return 0


def _number(env: dict[str, str], name: str) -> int | None:
    text = env.get(name) or None
    if text is not None and not text.isdecimal():
        raise SystemExit(f"{name}={text!r}: must be a whole number")
    return int(text) if text else None


def _port(given: int | None) -> int:
    if given:
        return given
    return next(port for port in range(DEFAULT_PORT, DEFAULT_PORT + 1000) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
