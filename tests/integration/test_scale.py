"""The scale-out benchmark runs, and every score it looks at is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import scale


def test_a_tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SETTLE_S", 0.3)
    output = tmp_path / "scale.md"
    assert scale.main(["--workers", "1", "--seconds", "0.5", "--output", str(output)]) == 0
    (row,) = re.findall(r"^\| 1 \| (.+) \|$", output.read_text(), re.MULTILINE)
    pairs, efficiency, busy, batch_ms, *_ = row.split(" | ")
    assert 0 < int(pairs.replace(",", "")) < 1500  # a device of 50 ms for 16,384 tokens can no more
    assert efficiency == "1.00"
    assert 0 < float(busy) <= 1.2  # half a second has room for a batch more or less
    assert float(batch_ms) >= 38  # of a whole shard
