"""Scores a model's folder says it gives: `golden.json`, held against what it gives here.

The plain pass can be wrong, too, with a broken build of torch or a file that was cut short; only
numbers from elsewhere tell.
"""

from __future__ import annotations

import json
from pathlib import Path

from worker.engine.choice import AGREE
from worker.engine.interface import Engine, Unscorable

NAME = "golden.json"


class SelfTestFailed(Exception):
    """The model's scores on this machine are not what they have to be."""


def check(model: str, engine: Engine) -> None:
    """Score the folder's golden pairs, if it has any: `[{query, document, log_odds}]`.

    Raises:
        SelfTestFailed: one comes out otherwise.
    """
    path = Path(model) / NAME
    if not path.is_file():
        return
    allowed = AGREE[engine.profile.dtype]
    cases, pairs = [], []
    for case in json.loads(path.read_text()):
        try:
            (pair,) = engine.encode(case["query"], None, [case["document"]])
        except Unscorable:  # longer than an operator lets queries be
            continue
        if not pair.truncated:  # by an operator's limit of pairs
            cases.append(case)
            pairs.append(pair)
    # At once, as jobs are scored: alone each would wait for the cores of a busy machine.
    scores = engine.prepare(pairs)() if pairs else []
    for case, found in zip(cases, scores, strict=True):
        expected = case["log_odds"]
        if not abs(found - expected) <= allowed * max(1.0, abs(expected)):
            raise SelfTestFailed(
                f"self-test: {case['query']!r} and {case['document']!r} score {found:.5f}, and "
                f"{path} has {expected:.5f}"
            )
