"""Certificates, and a door with TLS in front of a Redis that has none."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "certificates"  # how they were made: make.sh


def authority(name: str) -> Path:
    """A CA's certificate: `ours`, which has signed the door's, or `another`."""
    return CERTIFICATES / f"{name}.pem"


@contextlib.contextmanager
def door(backend_port: int) -> Iterator[int]:
    """The port of a listener at 127.0.0.1 that ends TLS and passes the bytes on to the backend."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        guest = (listener, context, backend_port)
        threading.Thread(target=_admit, args=guest, daemon=True).start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _admit(listener: socket.socket, context: ssl.SSLContext, backend_port: int) -> None:
    while True:
        try:
            guest, _ = listener.accept()
        except OSError:  # the door was closed
            return
        threading.Thread(target=_serve, args=(guest, context, backend_port), daemon=True).start()


def _serve(guest: socket.socket, context: ssl.SSLContext, backend_port: int) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as both:
        secure = both.enter_context(context.wrap_socket(guest, server_side=True))
        backend = both.enter_context(socket.create_connection(("127.0.0.1", backend_port)))
        secure.setblocking(False)
        while True:
            waiting = [] if secure.pending() else [secure, backend]
            ready = select.select(waiting, [], [])[0] if waiting else [secure]
            if secure in ready:
                with contextlib.suppress(ssl.SSLWantReadError):
                    if not (data := secure.recv(65_536)):
                        return
                    backend.sendall(data)
            if backend in ready:
                if not (data := backend.recv(65_536)):
                    return
                secure.settimeout(10)
                secure.sendall(data)
                secure.setblocking(False)
