"""No text of a caller's reaches a log, also where Celery would print a whole message; in JSON every
line is, also what is not logged."""

import json
import logging
import os
import subprocess
import sys
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


NOT_LOGGED = """
import logging, os, sys, threading, warnings
from rerankq import logs, startup

library = logging.getLogger("library")
library.addHandler(logging.StreamHandler(sys.stderr))
library.propagate = False
startup.begin()
logs.adopt_libraries()
library.warning("by a handler of its own")
print("printed", 1)
sys.stderr.write("\\r10 %\\r20 %")
sys.stderr.flush()
warnings.warn("in several\\nlines")
logs.write_past_loggers(logging.INFO, "celery", "at a signal")
thread = threading.Thread(target=lambda: 1 / 0, name="t")
thread.start()
thread.join()
raise ValueError("nobody\\ncatches it")
"""


def test_in_json_every_line_is_whoever_wrote_it() -> None:
    line = [sys.executable, "-c", NOT_LOGGED]
    env = os.environ | {"RERANKQ_LOG_FORMAT": "json"}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = [(line["level"], line["logger"], line["message"].partition("\n")[0]) for line in lines]
    warned = said.pop(4)
    assert warned[:2] == ("warning", "py.warnings")
    assert warned[2].endswith("UserWarning: in several")
    assert said == [
        ("warning", "library", "by a handler of its own"),
        ("info", "stdout", "printed 1"),
        ("warning", "stderr", "10 %"),
        ("warning", "stderr", "20 %"),
        ("info", "celery", "at a signal"),
        ("critical", "rerankq.printed", "uncaught error"),
        ("critical", "rerankq.printed", "uncaught error"),
    ]
    assert [line["thread_name"] for line in lines[-2:-1]] == ["t"]
    assert lines[-1]["exception"].endswith("ValueError: nobody\ncatches it")
    assert done.returncode == 1
