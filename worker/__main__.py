"""`python -m worker`: load the model, then take messages until SIGTERM."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # Before torch is imported, which takes seconds: as a container's first process this one has no
    # default to be ended by. Nor would the threads that load a model bear an orderly exit; nothing
    # is held yet.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    from rerankq import startup

    startup.disown_metrics_folder()
    startup.begin()  # what those libraries say is logged in one form, and a wrong setting at once

import gc
import logging
import socket
import sys
import threading
import time
from typing import Any

from celery import Celery, signals
from celery.apps import worker as celery_worker
from celery.worker import state

from rerankq import logs, startup, tracing
from rerankq.celery_app import make_app
from rerankq.errors import SettingsError
from rerankq.ledger.keys import queue_of
from rerankq.settings import Settings
from rerankq.status import Lane
from worker import tasks, vital
from worker.engine.golden import SelfTestFailed
from worker.engine.hosted import host
from worker.engine.interface import Unscorable
from worker.engine.spec import UnsupportedModel
from worker.probe import Probe
from worker.service import Worker

log = logging.getLogger("worker")

TRANSPORT = "worker.transport:Transport"
# Of the signal: a result may wait for a Redis that is away. Less than compose's time for a stop;
# nothing is lost if it is not enough.
CELERY_ENDS_WITHIN_S = 45.0
LEAST_AFTER_DRAIN_S = 2.0


def main() -> int:
    settings = startup.begin()
    logs.adopt_libraries()
    tracing.start("rerankq-worker")
    worker: Worker | None = None
    try:
        probe = Probe(settings.metrics_port, ready=lambda: worker is not None and worker.ready)
    except OSError as error:
        startup.refuse(f"RERANKQ_METRICS_PORT={settings.metrics_port}: {error.strerror}")
        return startup.EXIT_USAGE
    probe.start()
    try:
        worker = Worker(settings, host(settings))
    except Exception as error:  # whatever a foreign model's code raises
        log.debug("the model did not load", exc_info=error)
        startup.refuse(_why(settings, error))
        return startup.EXIT_USAGE
    # Until Celery's own handlers are there. An exception would be lost if it met a `__del__`.
    signal.signal(signal.SIGTERM, lambda *_: setattr(state, "should_stop", 0))
    # What is there now stays; going through torch's objects again and again holds all threads up.
    gc.collect()
    gc.freeze()
    app = make_app(settings, name="rerankq-worker")
    tasks.register(app, worker)
    try:
        worker.start()
        worker.publish_results(app)
        return _consume(app, worker, settings)
    finally:
        worker.drain()
        tracing.stop()


def _why(settings: Settings, error: Exception) -> str:
    """One line that names the variable to look at."""
    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, Unscorable):
        return f"RERANKQ_MAX_LENGTH={settings.max_length}: too short for the template: {error}"
    said = OSError | UnsupportedModel | SelfTestFailed
    kind = "" if isinstance(error, said) else f"{type(error).__name__}: "
    return f"RERANKQ_MODEL={settings.model!r}: {kind}{' '.join(str(error).split())}"


def _consume(app: Celery, worker: Worker, settings: Settings) -> int:
    """Run Celery's consumer until a warm shutdown; its exit code."""
    ended = threading.Event()

    def on_ready(sender: Any, **_: Any) -> None:
        worker.deliveries.follow(sender)

    def on_shutting_down(**_: Any) -> None:
        # In a thread: this runs inside the signal handler, which must return.
        threading.Thread(target=_end, args=(worker, ended), name="drain", daemon=True).start()

    # A receiver of its own is what makes Celery leave our logging alone; what it says of a signal
    # it writes by itself.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    celery_worker.safe_say = _say
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_transport = TRANSPORT
    consumer = app.Worker(
        hostname=f"{worker.id}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=settings.concurrency,
        queues=[queue_of(lane, settings.further) for lane in Lane],
        without_gossip=True,
        without_mingle=True,
        # Nobody listens to these; with Redis away the loop would try to tell them for ever, and
        # heed no signal.
        without_heartbeat=True,
        quiet=True,
    )
    consumer.start()
    ended.set()
    return consumer.exitcode or 0


def _end(worker: Worker, ended: threading.Event) -> None:
    """Drain, and see to it that the process ends, whatever Celery still waits for."""
    code, told = 0, time.monotonic()
    try:
        worker.drain()
    except Exception:  # a bug; leases lapse
        log.exception("not drained")
        code = vital.EXIT_THREAD_DIED
    left = told + CELERY_ENDS_WITHIN_S - time.monotonic()
    if not ended.wait(max(LEAST_AFTER_DRAIN_S, left)):
        log.warning("ending although Celery does not", extra={"code": code})
        vital.die(code)


def _say(words: str, *_: Any) -> None:
    logs.write_past_loggers(logging.INFO, celery_worker.__name__, words)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # nothing is left to save, and taking torch apart takes seconds
