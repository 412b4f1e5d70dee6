"""`python -m api --host HOST --port PORT`: serve until SIGTERM."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # Before the other imports: as a container's first process this one has no default to be ended
    # by. Nothing is held until uvicorn has its own handlers. It raises the signal that stopped it
    # once more at its end, and a clean stop exits 0.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import argparse
import sys

import uvicorn

from api.app import create_app
from api.connections import Connection
from rerankq import startup, tracing
from rerankq.errors import SettingsError

LONGEST_LAST_REQUEST_S = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    settings = startup.begin()
    tracing.start("rerankq-api")
    try:
        app = create_app(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return startup.EXIT_USAGE
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        http=Connection,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=LONGEST_LAST_REQUEST_S,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
