"""Logs as one JSON object a line (or text for people), with the request id where there is one.

Only names, counts and times are logged: never a query, a document, a key or a Redis URL.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from contextvars import ContextVar

from rerankq.settings import Settings

request_id: ContextVar[str] = ContextVar("request_id", default="")

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
    "data",  # Celery's: a task's arguments, which are queries and documents
}


def _time(created: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f"{created % 1:.3f}"[1:] + "Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {key: value for key, value in vars(record).items() if key not in _PLAIN}
    if request_id.get():
        fields.setdefault("request_id", request_id.get())
    return fields


def _message(record: logging.LogRecord) -> str:
    if record.name == "celery.worker.consumer.consumer" and "body" in str(record.msg):
        return _without_body(record)
    return record.getMessage()


def _without_body(record: logging.LogRecord) -> str:
    """What Celery says of a message it cannot use, less the message, which holds documents."""
    first = str(record.msg).strip().splitlines()[0]
    said, placeholder, _ = first.partition("%")
    if not placeholder or not isinstance(record.args, tuple) or not record.args:
        return said
    reason = record.args[0]
    # An unknown task's name is all that may be told; other errors can quote what they met.
    return said + (str(reason) if isinstance(reason, KeyError) else type(reason).__name__)


# The last two log a line for every message, bells included.
_NOISY = (
    "httpx",
    "httpcore",
    "urllib3",
    "asyncio",
    "uvicorn.access",
    "celery.worker.strategy",
    "celery.app.trace",
)


class JsonFormatter(logging.Formatter):
    """`extra=` fields become keys of the object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, message, then `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        text = f"{_time(record.created)} {record.levelname.lower():7} {_message(record)}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(settings: Settings) -> None:
    """Send every logger of this process to stderr in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def adopt_libraries() -> None:
    """Take the handlers away that libraries gave their loggers when they were imported."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def as_json(level: int, logger: str, message: str) -> str:
    """The line that a logger would write in JSON, for who cannot use one."""
    return JsonFormatter().format(_record(level, logger, message))


def write_past_loggers(level: int, logger: str, message: str) -> None:
    """A line in this process's form, for a signal's handler: it may have interrupted the logger
    in the middle of a write."""
    form = logging.getLogger().handlers[0].formatter or TextFormatter()
    line = form.format(_record(level, logger, message)) + "\n"
    with contextlib.suppress(OSError):  # nobody reads; that must not keep a process from ending
        os.write(2, line.encode())


def _record(level: int, logger: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(logger, level, "", 0, message, None, None)
