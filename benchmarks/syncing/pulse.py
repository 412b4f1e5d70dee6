"""How long an event loop lets a probe wait, and one of its own beside it.

    python -m benchmarks.syncing.pulse SECONDS URL...

Asks each URL's `/livez` in the same rhythm over a connection that stays open. Prints one line of
JSON: seconds of each answer, a list a URL.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

RHYTHM_S = 0.02
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"ok\n"


async def ask(url: str, until: float) -> list[float]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    took = []
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        took.append(time.perf_counter() - started)
        await asyncio.sleep(max(0.0, RHYTHM_S - took[-1]))
    writer.close()
    return took


async def run(seconds: float, urls: list[str]) -> list[list[float]]:
    until = time.perf_counter() + seconds
    return list(await asyncio.gather(*(ask(url, until) for url in urls)))


def main() -> None:
    seconds, *urls = sys.argv[1:]
    print(json.dumps(asyncio.run(run(float(seconds), urls))))


if __name__ == "__main__":
    main()
