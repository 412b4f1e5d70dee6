"""The command line against a running system: what it prints, how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.localsystem import LocalSystem
from tests.conftest import clean_environment


def rerankq(system: LocalSystem | None, *args: str, stdin: str = "") -> tuple[int, str, str]:
    url = system.url if system else "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-m", "rerankq.cli", *args],
        env=clean_environment(RERANKQ_URL=url),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return done.returncode, done.stdout, done.stderr


def test_submit_and_wait_prints_the_ranking(demo_system: LocalSystem, tmp_path: Path) -> None:
    ports, bread = tmp_path / "ports.txt", tmp_path / "bread.txt"
    ports.write_text("ss lists the network ports with the process that uses each of them.")
    bread.write_text("Knead the dough for ten minutes.")
    query = "which process uses a network port?"
    code, out, _ = rerankq(demo_system, "submit", query, str(bread), str(ports), "--wait")
    assert code == 0
    first, best, _ = out.splitlines()
    assert first.split()[1:] == ["succeeded", "2/2"]
    assert best.split()[-1] == str(ports)
    lines = "Knead the dough.\nss lists the network ports.\n"
    code, out, _ = rerankq(demo_system, "submit", query, "-", "--wait", "--json", stdin=lines)
    assert json.loads(out)["results"][0]["index"] == 1


def test_status_cancel_and_queue(demo_system: LocalSystem) -> None:
    code, out, _ = rerankq(demo_system, "submit", "q", "-", "--lane", "bulk", stdin="d\n")
    assert code == 0
    job_id = out.split()[0]
    assert rerankq(demo_system, "status", job_id)[0] == 0
    assert rerankq(demo_system, "cancel", job_id)[0] == 0
    code, out, _ = rerankq(demo_system, "queue")
    assert code == 0
    assert "interactive" in out
    assert "1 workers ready" in out


def test_exit_codes(demo_system: LocalSystem) -> None:
    code, _, said = rerankq(demo_system, "status", "job_0")
    assert (code, "not_found" in said) == (1, True)
    assert rerankq(demo_system, "submit", " ", "-", stdin="d\n")[0] == 1
    assert rerankq(demo_system, "submit", "q", "/nowhere/at/all")[0] == 2
    assert rerankq(demo_system, "nonsense")[0] == 2
    assert rerankq(None, "queue")[0] == 3
    long = "word " * 12_000
    assert rerankq(demo_system, "submit", long, "-", "--wait", stdin="d\n")[0] == 1


@pytest.mark.parametrize("job_id", ["../queue", "a/b", "..", "?x", "#", " "])
def test_an_id_is_one_segment_of_the_path(job_id: str, demo_system: LocalSystem) -> None:
    """Whatever is in it, it leads to no other resource."""
    code, out, said = rerankq(demo_system, "status", job_id)
    assert (code, out) == (1, "")
    assert "not_found" in said


def test_something_else_at_the_url_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "queue").write_text("<html>welcome</html>")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code, _, said = rerankq(None, "queue", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert code == 3
    assert "no rerankq service answers" in said


def test_a_reader_that_has_had_enough_is_no_error(demo_system: LocalSystem) -> None:
    main = "import sys; from rerankq.cli import main; sys.exit(main())"
    command = f"{sys.executable} -c '{main}' queue --json --url {demo_system.url} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
