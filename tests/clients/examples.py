"""The examples of docs/clients.md, by the environment they run in.

A block that begins with "```python NAME" runs in the environment NAME; one without a name is any
document's, and run with the rest of them by tests/integration/test_docs.py.
"""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
BLOCK = re.compile(r"^```python (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"
KEY = re.compile(r"\bKEY\b")


def named() -> set[str]:
    """The environments that examples ask for."""
    return {name for name, _ in BLOCK.findall(PAGE.read_text())}


def examples(name: str, url: str, key: str) -> list[str]:
    """The environment's examples, pointed at a system of one's own."""
    return [
        KEY.sub(key, code.replace(ADDRESS, url))
        for found, code in BLOCK.findall(PAGE.read_text())
        if found == name
    ]
