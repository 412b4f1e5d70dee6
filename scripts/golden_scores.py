"""Write a model folder's golden.json, with which a worker checks itself when it starts.

    python -m scripts.golden_scores models/demo

The scores are transformers' own, one pair at a time in float32, by the code of the model cards.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.reference import Reference

PAIRS = [
    ("which package plays music?", "A small audio player for the terminal with playlists."),
    ("which package plays music?", "A library to parse and write YAML documents."),
    ("compare two files", "diff shows the differences between two files, line by line."),
    ("東京 🙂", "naïve café, e\u0301"),
    ("an empty document", ""),
]


def main() -> None:
    folder = Path(sys.argv[1])
    reference = Reference(folder)
    cases = [
        {"query": query, "document": document, "log_odds": reference.log_odds(query, document)}
        for query, document in PAIRS
    ]
    text = json.dumps(cases, ensure_ascii=False, indent=1)
    (folder / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
