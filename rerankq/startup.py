"""How both applications begin: settings from the environment, logs in one form, typos named."""

from __future__ import annotations

import logging
import os
import sys

from rerankq import logs
from rerankq.errors import SettingsError
from rerankq.settings import Settings, unknown_variables

log = logging.getLogger(__name__)

EXIT_USAGE = 2
EXIT_NOT_STARTED = 3  # the port, or what the event loop needs at its start


def begin() -> Settings:
    """Raises: SystemExit: 2, after one line that names the wrong variable."""
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_USAGE) from None
    logs.set_up(settings)
    for name in unknown_variables(os.environ):
        log.warning("unknown variable", extra={"variable": name})
    return settings
