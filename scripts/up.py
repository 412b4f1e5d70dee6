"""`make up`: the system in the foreground until Ctrl-C or SIGTERM.

Environment: PORT (8000, else the next free one), WORKERS (1), API_PROCESSES (1, behind that port),
MODEL (the demo model), and every RERANKQ_* variable.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from scripts.localsystem import DEMO_MODEL, ROOT, LocalSystem, StartFailed
from scripts.redis_server import NoRedis, is_free

DEFAULT_PORT = 8000


def main() -> int:
    env = dict(os.environ)
    if env.get("MODEL"):
        env["RERANKQ_MODEL"] = env["MODEL"]
    env.setdefault("RERANKQ_MODEL", DEMO_MODEL)
    env.setdefault("RERANKQ_LOG_FORMAT", "text")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    system: LocalSystem | None = None
    try:
        settings = Settings.from_env(env)
        for model in (settings.model, *settings.models):
            _check_folder(model)
        workers = _number(env, "WORKERS", 0, 64)
        api_processes = _number(env, "API_PROCESSES", 1, 64)
        system = LocalSystem(
            Path(".run"),
            port=_port(_number(env, "PORT", 1, 65_535)),
            workers=1 if workers is None else workers,
            api_processes=api_processes or 1,
            env=env,
            log_to_files=False,
        )
        system.start()
        print(f"rerankq is up at {system.url} (try {system.url}/docs); Ctrl-C stops it", flush=True)
        system.watch()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (NoRedis, StartFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if system is not None:
            system.stop()
    return 0


def _number(env: dict[str, str], name: str, least: int, most: int) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{name}={text!r}: must be a whole number, {least} to {most}")
    return int(text)


def _check_folder(model: str) -> None:
    """What is meant as a path is one; said at once, and not after a hub was asked for it.

    The models shipped here are named by their folders without a dot in front, as hub ids are.
    """
    top = model.partition("/")[0]
    if (top.startswith((".", "~")) or (ROOT / top).is_dir()) and not (ROOT / model).is_dir():
        raise SettingsError(f"MODEL={model!r}: there is no such folder")


def _port(given: int | None) -> int:
    if given:
        return given
    return next(port for port in range(DEFAULT_PORT, DEFAULT_PORT + 1000) if is_free(port))


if __name__ == "__main__":
    sys.exit(main())
