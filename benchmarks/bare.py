"""What an event loop of its own can do on this machine: a server that does nothing, and a sleeper.

    python -m benchmarks.bare [SECONDS_OF_A_SLEEP]

Prints its port. Answers every HTTP request with `ok`, and `GET /late` with the seconds by which
each sleep since the last such request was late, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLEEP_S = 0.02


@contextmanager
def served(sleep_s: float = SLEEP_S) -> Iterator[str]:
    """Its URL, while it runs in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.bare", str(sleep_s)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Bare:
    """The server and the sleeper, on one loop."""

    def __init__(self, sleep_s: float) -> None:
        self._sleep_s = sleep_s
        self._late: list[float] = []

    async def run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        while True:
            due = time.perf_counter() + self._sleep_s
            await asyncio.sleep(self._sleep_s)
            self._late.append(max(0.0, time.perf_counter() - due))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                body = b"ok\n"
                if request.startswith(b"GET /late "):
                    body, self._late = json.dumps(self._late).encode(), []
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


if __name__ == "__main__":
    asyncio.run(Bare(float(sys.argv[1]) if len(sys.argv) > 1 else SLEEP_S).run())
