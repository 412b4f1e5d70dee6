"""The index of a corpus."""

import tracemalloc
from pathlib import Path

import pytest

from rerankq.bulk import index as index_module
from rerankq.bulk import storage
from tests.unit.bulk_formats.files import DOCUMENTS, write_beir


def test_an_index_is_built_once_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_BUCKET_BITS", 5)
    monkeypatch.setattr(index_module, "_BLOCK", 20 * index_module._ENTRY.size)
    corpus, target = tmp_path / "corpus.jsonl", str(tmp_path / "index")
    count = 50_000
    with corpus.open("w") as file:
        for number in range(count):
            file.write(f'{{"_id": "d{number}", "title": "", "text": "text of {number}"}}\n')
    tracemalloc.start()
    index = index_module.index(str(corpus), target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Sorted in one piece it takes 8 MB; 1 MB is the buffer of the file that is read.
    assert peak < 3e6, peak
    assert index.count == count
    names = [f"d{number}" for number in (0, 7, count - 1)]
    told = list(index.records([*names, "d-1", "D7"]))
    assert [one and one["_id"] for one in told] == [*names, None, None]
    version = storage.stat(target).version
    index_module._opened.clear()
    index_module.index(str(corpus), target)
    assert storage.stat(target).version == version


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_hash", lambda key: 1)
    write_beir(tmp_path)
    index = index_module.index(str(tmp_path / "corpus.jsonl"), str(tmp_path / "index"))
    told = list(index.records(["d3", "none", "d1"]))
    assert [one and one["text"] for one in told] == [DOCUMENTS["d3"], None, DOCUMENTS["d1"]]
