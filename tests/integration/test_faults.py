"""What kills, hangs or breaks a worker: it fails alone, and nobody else's work with it."""

from __future__ import annotations

import pytest

from rerankq import Client, JobStatus
from tests.conftest import StartSystem, eventually

FAULTS = ["KILL ON DEVICE", "HANG ON DEVICE", "BREAK DEVICE", "KILL IN TOKENIZER"]


@pytest.mark.timeout(300)
def test_poisonous_documents_fail_their_own_jobs_only(start_system: StartSystem) -> None:
    """All of them at once, each among innocent jobs that share its batches."""
    system = start_system(
        workers=2,
        worker_module="tests.faulty_worker",
        supervised=True,
        lease_seconds="1",
        max_attempts="2",
    )
    with Client(system.url) as client:
        innocent, poison = [], []
        for fault in FAULTS:
            innocent += [client.submit("q", [f"{n} harmless"] * 5).id for n in range(10)]
            poison.append(client.submit("q", ["harmless", fault, "harmless too"]).id)
        for job_id in poison:
            failed = client.wait(job_id, 250)
            assert failed.status is JobStatus.FAILED
            assert failed.error is not None
            assert failed.error.code == "worker_lost"
        for job_id in innocent:
            assert client.wait(job_id, 60).status is JobStatus.SUCCEEDED
        assert client.queue().backlog == 0
        eventually(lambda: client.queue().workers == 2, 30)
        assert client.rerank("after", ["it", "goes on"], timeout=30)
