"""Redis behind a password and TLS: all who connect check the certificate, and tell no password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rerankq import Client
from scripts.localsystem import LocalSystem, Start
from scripts.redis_server import answers, command, find_server, free_port
from tests import tls
from tests.conftest import CeleryAt, StartSystem, clean_environment, eventually

PASSWORD = "unspeakable-password"
QUERY, DOCUMENTS = "which process uses a port?", ["Knead the dough.", "ss lists the ports."]


@dataclass
class Secured:
    """A Redis behind a password, and the URLs of its door."""

    port: int

    def url(self, authority: str, *, host: str = "127.0.0.1") -> str:
        trusted = tls.authority(authority)
        return f"rediss://:{PASSWORD}@{host}:{self.port}/0?ssl_ca_certs={trusted}"

    @property
    def plain(self) -> str:
        return self.url("ours").partition("?")[0]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    port = free_port()
    line = [*command(find_server(), folder, port), "--requirepass", PASSWORD]
    server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(f"redis://:{PASSWORD}@127.0.0.1:{port}/0"))
        with tls.door(port) as door:
            yield Secured(door)
    finally:
        server.terminate()
        server.wait(10)


def logs(system: LocalSystem) -> str:
    return "".join(path.read_text() for path in (system.folder / "logs").iterdir())


def test_a_job_and_public_tasks_over_tls(
    secured: Secured, start_system: StartSystem, celery_at: CeleryAt
) -> None:
    system = start_system(redis_url=secured.url("ours"))
    with Client(system.url) as client:
        assert client.rerank(QUERY, DOCUMENTS)[0].index == 1
    # As docs/celery.md has it for an app of one's own.
    url = secured.url("ours") + "&ssl_cert_reqs=required"
    bare = celery_at(url).send_task("rerankq.rerank", args=[QUERY, DOCUMENTS], queue="rerankq.bulk")
    assert bare.get(timeout=30)["results"][0]["index"] == 1
    code = (
        "import json; from rerankq.tasks import rerank;"
        f"print(json.dumps(rerank.delay({QUERY!r}, {DOCUMENTS!r}).get(timeout=30)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"RERANKQ_REDIS_URL": secured.url("ours")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(said.stdout)["results"][0]["index"] == 1
    assert PASSWORD not in logs(system) + said.stderr


def test_another_authoritys_certificate_is_refused(
    secured: Secured, tmp_path: Path, start_process: Start
) -> None:
    env = clean_environment(RERANKQ_REDIS_URL=secured.url("another"))
    system = LocalSystem(tmp_path / "system", env=env, start=start_process)
    system.folder.mkdir()
    try:
        for child in system.children:
            system.spawn(child)
        eventually(lambda: _status(f"{system.url}/readyz") == 503)
        said = "certificate refused: unable to get local issuer certificate"
        for name in ("api", "worker-1"):
            log = system.folder / "logs" / f"{name}.log"
            eventually(lambda log=log: said in log.read_text())
        # Celery's own consumer, too.
        eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in logs(system))
        assert PASSWORD not in logs(system)
        assert "Traceback" not in logs(system)
    finally:
        system.stop()


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize("which", ["plain", "another name"])
def test_celery_checks_authority_and_name(secured: Secured, which: str) -> None:
    """kombu alone would check nothing for a URL without options."""
    url = secured.plain if which == "plain" else secured.url("ours", host="localhost")
    code = (
        "from rerankq.tasks import app\n"
        "for reach in (app.connection_for_write().connect, app.backend.client.ping):\n"
        "    try: reach()\n"
        "    except Exception as error: print('CERTIFICATE_VERIFY_FAILED' in str(error))\n"
    )
    env = os.environ | {"RERANKQ_REDIS_URL": url}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert said.stdout.split() == ["True", "True"], said.stderr
