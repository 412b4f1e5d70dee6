"""How both applications begin: settings from the environment, logs in one form, typos named."""

from __future__ import annotations

import logging
import os
import sys
from functools import cache

from rerankq import logs, printed
from rerankq.errors import SettingsError
from rerankq.settings import Settings, unknown_variables

log = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_NOT_STARTED = 3  # the port, or what the event loop needs at its start


@cache
def begin() -> Settings:
    """Once for this process, however often it is called.

    Raises: SystemExit: 2, after one line that names the wrong variable.
    """
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        refuse(error)
        raise SystemExit(EXIT_USAGE) from None
    logs.set_up(settings)
    if settings.log_format == "json":
        printed.take_over()
    for name in unknown_variables(os.environ):
        log.warning("unknown variable", extra={"variable": name})
    return settings


def disown_metrics_folder() -> None:
    """To be called before prometheus_client is imported, which reads it: somebody else's folder
    might not be there, or hold what processes from before have counted.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)


def refuse(why: object) -> None:
    """Say why this process does not start: one line, as it is or as the message of a log line."""
    text = os.environ.get("RERANKQ_LOG_FORMAT") == "text"  # settings may be what is wrong
    said = str(why) if text else logs.as_json(logging.CRITICAL, log.name, str(why))
    print(said, file=sys.__stderr__, flush=True)
