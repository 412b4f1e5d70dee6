"""Certificates made on the spot, and a door with TLS in front of a Redis that has none."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

LIFE = ("-days", "2")


def authority(folder: Path, name: str) -> Path:
    """A CA's certificate; its key lies beside it."""
    certificate = folder / f"{name}.pem"
    key = certificate.with_suffix(".key")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, *LIFE, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate))
    return certificate


def signed(authority: Path, *, host: str) -> Path:
    """A certificate for that host (an IP address), its key in the same file."""
    folder = authority.parent
    key, request, certificate = (folder / f"{host}.{kind}" for kind in ("key", "csr", "pem"))
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-subj", f"/CN={host}", "-keyout", str(key), "-out", str(request))
    names = folder / f"{host}.names"
    names.write_text(f"subjectAltName=IP:{host}\n")
    by = ("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")), "-CAcreateserial")
    signing = ("x509", "-req", *LIFE, "-in", str(request), *by, "-extfile", str(names))
    openssl(*signing, "-out", str(certificate))
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def door(certificate: Path, backend_port: int) -> Iterator[int]:
    """The port of a listener that ends TLS and passes the bytes on to the backend."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
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
