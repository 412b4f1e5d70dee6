"""No text of a caller's reaches a log, also where Celery would print a whole message."""

import json
import logging
from typing import Any

import pytest
from celery.worker.consumer import consumer

from rerankq.logs import JsonFormatter, TextFormatter

SECRET = "confidential"


def logged(formatter: logging.Formatter, template: str, *args: Any, **extra: Any) -> str:
    record = logging.LogRecord(consumer.__name__, logging.WARNING, "", 0, template, args, None)
    vars(record).update(extra)
    return formatter.format(record)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_messages_that_celery_cannot_use_are_named_without_their_bodies(
    formatter: logging.Formatter,
) -> None:
    unknown = logged(
        formatter, consumer.UNKNOWN_TASK_ERROR, KeyError("nope"), SECRET, SECRET, SECRET
    )
    assert "Received unregistered task of type" in unknown
    assert "nope" in unknown
    torn = UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET)
    lines = [
        unknown,
        logged(formatter, consumer.UNKNOWN_FORMAT, SECRET),
        logged(formatter, consumer.INVALID_TASK_ERROR, ValueError(SECRET), SECRET),
        logged(formatter, consumer.MESSAGE_DECODE_ERROR, torn, "json", "utf-8", SECRET, SECRET),
        logged(formatter, "Task done", data={"args": SECRET}),
    ]
    assert not [line for line in lines if SECRET in line]


def test_other_messages_are_whole() -> None:
    template = "consumer: Cannot connect to %s: %s."
    line = json.loads(logged(JsonFormatter(), template, "redis://x", "refused", lane="bulk"))
    assert line["message"] == "consumer: Cannot connect to redis://x: refused."
    assert line["lane"] == "bulk"
