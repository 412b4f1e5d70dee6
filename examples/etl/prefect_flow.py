"""For Prefect: decorate `reranked` with `@task(retries=3)` and call it in a flow.

The command goes on where a killed try was, so that a retry scores nothing twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-c", "from rerankq.cli import main; raise SystemExit(main())"]


def reranked(source: Path, target: Path, *options: str) -> dict[str, Any]:
    """What `rerankq bulk --json` says of it.

    Raises: CalledProcessError: it failed (1), is wrongly called (2; a retry is no use), or the
        service is out of reach (3).
    """
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "bulk", str(source), str(target), "--json", *options],
        stdout=subprocess.PIPE,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told
