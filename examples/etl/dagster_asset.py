"""For Dagster: decorate `reranked` with `@asset`; what it returns is the asset's metadata.

One partition, one file, one batch. Materialised again without `force` it costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from examples.etl import prefect_flow


def reranked(folder: Path, partition: str, *, force: bool = False) -> dict[str, Any]:
    """Rank `candidates/<partition>.jsonl` into `reranked/<partition>.jsonl`."""
    target = folder / "reranked" / f"{partition}.jsonl"
    target.parent.mkdir(exist_ok=True)
    told = prefect_flow.reranked(
        folder / "candidates" / target.name, target, *(["--force"] if force else [])
    )
    return {
        "path": str(target),
        "records": told["records"],
        "bad_lines": told["bad"],
        "pairs_per_s": told["pairs_per_s"],
        "already_there": told["already"],
    }
