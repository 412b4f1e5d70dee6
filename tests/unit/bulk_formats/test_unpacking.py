"""Compressed inputs."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from rerankq.bulk import storage, unpacking
from rerankq.bulk.records import BadInput
from rerankq.bulk.unpacking import unpacked
from tests.unit.bulk_formats.files import BEST, GOOD, batch, json_lines, ranked, run, write_trec


def compress(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        half = len(data) // 2
        return gzip.compress(data[:half]) + gzip.compress(data[half:])
    return bytes(pa.compress(data, "zstd", asbytes=True))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_input_is_unpacked_once(suffix: str, tmp_path: Path) -> None:
    write_trec(tmp_path)
    for name in ("in.run", "corpus.jsonl"):
        plain = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}{suffix}").write_bytes(compress(plain, suffix))
    spec = batch(tmp_path, f"in.run{suffix}", "trec")
    spec = spec.model_copy(update={"corpus": f"{spec.corpus}{suffix}"})
    plain_spec = unpacked(spec)
    assert Path(plain_spec.input).read_bytes() == (tmp_path / "in.run").read_bytes()
    assert plain_spec.queries == spec.queries
    assert run(plain_spec) == []
    assert ranked(plain_spec) == BEST
    assert unpacked(spec) == plain_spec
    assert unpacked(plain_spec) == plain_spec


def test_the_faster_of_two_that_unpack_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(b"ours"))
    spec = batch(tmp_path, "in.jsonl.gz", "jsonl")
    theirs = storage.join(spec.work, "input.jsonl")
    stream = unpacking._stream

    def slowly(*args: Any) -> Any:
        storage.put(theirs, b"theirs")
        return stream(*args)

    monkeypatch.setattr(unpacking, "_stream", slowly)
    assert unpacked(spec).version == storage.stat(theirs).version
    assert [Path(url).read_bytes() for url in storage.listing(spec.work)] == [b"theirs"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_truncated_and_damaged_input_is_told_from_whole(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"in.jsonl{suffix}"
    whole = compress(json_lines([{**GOOD, "id": i} for i in range(20_000)]).encode(), suffix)
    file.write_bytes(whole[:-20])
    with pytest.raises(BadInput, match=r"in\.jsonl.*; \d+ bytes could be unpacked") as failure:
        unpacked(batch(tmp_path, file.name, "jsonl"))
    assert failure.value.code == "input_truncated"
    assert not list((tmp_path / "work").iterdir())
    file.write_bytes(b"this is not compressed at all")
    with pytest.raises(BadInput, match="damaged") as failure:
        unpacked(batch(tmp_path, file.name, "jsonl"))
    assert failure.value.code == "input_damaged"
