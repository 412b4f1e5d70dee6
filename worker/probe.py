"""The worker's small HTTP side: /metrics, /livez, /readyz."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from worker import metrics

log = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: one idle connection must not make a healthy worker look dead."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Probe:
    """Answers while the model still loads, so that an orchestrator can tell slow from dead.

    Args:
        ready: the model is loaded and work is taken. Liveness needs no check: a process whose
            vital threads died has ended.
    """

    def __init__(self, port: int, *, ready: Callable[[], bool]) -> None:
        metrics.READY.set_function(ready)
        self._metrics = make_wsgi_app()
        self._checks = {"/livez": lambda: True, "/readyz": ready}
        self._server = make_server(
            "", port, self._answer, server_class=_Server, handler_class=_Quiet
        )
        self.port: int = self._server.server_port

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="probe", daemon=True).start()
        log.info("probe listens", extra={"port": self.port})

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        check = self._checks.get(path)
        status = "404 Not Found" if check is None else "200 OK" if check() else "503 Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [status.encode() + b"\n"]
