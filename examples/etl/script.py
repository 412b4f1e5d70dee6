"""A plain script: a file up, scored, its output down.

    python examples/etl/script.py in.jsonl out.jsonl

`rerankq bulk` does the same and also goes on where a killed run was; use this where a batch is one
step of something larger.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rerankq import Client

OPEN = ("validating", "in_progress", "finalizing", "cancelling")


def rerank_file(client: Client, source: Path, target: Path) -> int:
    """How many lines were scored.

    Raises: RuntimeError: the batch did not come to its end.
    """
    uploaded = client.upload_file(source)
    # The id of the upload as the key: a repeated call is the same batch.
    batch = client.create_batch(
        idempotency_key=uploaded.id, input_file_id=uploaded.id, input_format="jsonl", top_k=10
    )
    while batch.status in OPEN:
        time.sleep(1)
        batch = client.batch(batch.id)
    if batch.status != "completed" or batch.output_file_id is None:
        raise RuntimeError(f"{batch.id} {batch.status}: {batch.error}")
    client.download_file(batch.output_file_id, target)
    return batch.request_counts.completed


if __name__ == "__main__":
    with Client() as client:
        print(rerank_file(client, Path(sys.argv[1]), Path(sys.argv[2])))
