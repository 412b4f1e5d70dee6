"""`python -m api --host HOST --port PORT --workers N`: serve until SIGTERM."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # Before the other imports: as a container's first process this one has no default to be ended
    # by. Nothing is held until uvicorn has its own handlers. It raises the signal that stopped it
    # once more at its end, and a clean stop exits 0.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    from rerankq import startup

    if "API_PLACE" not in os.environ:  # the processes of a supervisor have such a folder
        startup.disown_metrics_folder()

import argparse
import contextlib
import gc
import socket
import sys

import uvicorn

from api import processes
from api.app import create_app
from api.connections import Connection
from api.front import Front
from rerankq import startup, tracing
from rerankq.errors import SettingsError
from rerankq.settings import Settings

LONGEST_LAST_REQUEST_S = 5
LONGEST_LAST_WAIT_S = 3  # for a job; what is left is for saying so
MOST_WORKERS = 64
# A large body is a million objects and no cycle: with Python's own thresholds one of 800,000 arrays
# held up the loop for 1.4 s, with these for 0.5.
GARBAGE = (50_000, 20, 50)


def main() -> int:
    args = _arguments()
    settings = startup.begin()
    try:
        if args.workers > 1:
            Front(settings)  # a wrong setting is said once, and not by each of them
            return processes.supervise(args.workers, args.host, args.port)
        tracing.start("rerankq-api")
        return _serve(settings, args)
    except SettingsError as error:
        startup.refuse(error)
        return startup.EXIT_USAGE


class _Server(uvicorn.Server):
    """Says that the end begins; the application is told of it only when nobody is left."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self._front = front

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._front.end_waits(LONGEST_LAST_WAIT_S)
        await super().shutdown(sockets)


def _serve(settings: Settings, args: argparse.Namespace) -> int:
    gc.set_threshold(*GARBAGE)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=args.host,
        port=args.port,
        http=Connection,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=LONGEST_LAST_REQUEST_S,
        server_header=False,
    )
    server = _Server(config, app.state.front)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if args.socket is None else [_shared(args.socket)])
    return 0 if server.started else startup.EXIT_NOT_STARTED


def _shared(descriptor: int) -> socket.socket:
    processes.end_with_supervisor()
    return socket.socket(fileno=descriptor)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--workers",
        type=int,
        choices=range(1, MOST_WORKERS + 1),
        default=1,
        metavar=f"1 to {MOST_WORKERS}",
        help="processes that share the port, each with a core's worth of work",
    )
    # What the supervisor of several gives each: the socket they share.
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
