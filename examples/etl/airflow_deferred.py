"""Airflow's deferrable way, as functions: one submits, one looks, one fetches; none of them waits.

`submit` is the body of an operator's `execute`, which then defers; `is_done` is what a trigger asks
every half minute (or a sensor in `reschedule` mode), and holds no worker slot between; `fetch` is
`execute_complete`. Between them travels the batch's id alone.
"""

from __future__ import annotations

from pathlib import Path

from rerankq import Client


def submit(client: Client, source: Path, run_id: str) -> str:
    """The batch's id.

    Args:
        run_id: of the task's run, the same in each of its tries: they all get the same batch, if
            the first came as far as that.
    """
    known = (one for one in client.batches() if (one.metadata or {}).get("run") == run_id)
    if (batch := next(known, None)) is not None and batch.status not in ("failed", "expired"):
        return batch.id
    uploaded = client.upload_file(source)
    return client.create_batch(
        input_file_id=uploaded.id, input_format="jsonl", metadata={"run": run_id}
    ).id


def is_done(client: Client, batch_id: str) -> bool:
    """Raises: RuntimeError: it ended otherwise, and the task has failed."""
    batch = client.batch(batch_id)
    if batch.status in ("failed", "expired", "cancelled"):
        raise RuntimeError(f"{batch_id} {batch.status}: {batch.error}")
    return batch.status == "completed"


def fetch(client: Client, batch_id: str, target: Path) -> None:
    """Write the output in one step; run twice it writes the same."""
    output = client.batch(batch_id).output_file_id
    if output is None:
        raise RuntimeError(f"{batch_id} has no output")
    client.download_file(output, target)
