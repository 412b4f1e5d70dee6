"""The short version of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.localsystem import Start
from tests.fuzz.run import run


@pytest.mark.timeout(200)
def test_every_answer_is_as_the_document_says(tmp_path: Path, start_process: Start) -> None:
    report = run(tmp_path, seed=7, cases=300, start=start_process)
    wrong = [f"{f.call}: {f.reason}\n{f.curl}" for f in report.failures.values()]
    assert not wrong, "\n\n".join(wrong[:5])
    assert report.left == []
    assert report.cases == 300
