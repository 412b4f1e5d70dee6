"""Every format in, every format out."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rerankq.bulk import storage
from rerankq.bulk.formats import guess, reader, writer
from rerankq.bulk.records import Bad, BadInput, Record
from rerankq.bulk.unpacking import needs_unpacking
from tests.unit.bulk_formats.files import (
    BEST,
    GOOD,
    INPUTS,
    OUTPUTS,
    WRITE,
    batch,
    ranked,
    read,
    run,
    write_beir,
    write_jsonl,
    write_trec,
)


@pytest.mark.parametrize("out", OUTPUTS)
@pytest.mark.parametrize("given", INPUTS)
def test_every_input_to_every_output(given: str, out: str, tmp_path: Path) -> None:
    spec = batch(tmp_path, WRITE[given](tmp_path), given, out)
    assert run(spec) == []
    assert ranked(spec) == BEST


@pytest.mark.parametrize("given", INPUTS)
def test_input_and_output_of_another_file_system(given: str, tmp_path: Path) -> None:
    name = WRITE[given](tmp_path)
    there = f"memory://{tmp_path}"
    for file in tmp_path.iterdir():
        storage.put(storage.join(there, file.name), file.read_bytes())
    spec = batch(tmp_path, name, given)
    fields = ("input", "corpus", "queries", "output", "work")
    urls = {field: getattr(spec, field) for field in fields}
    moved = {field: url and url.replace(str(tmp_path), there, 1) for field, url in urls.items()}
    version = storage.stat(moved["input"]).version
    assert run(spec.model_copy(update={**moved, "version": version})) == []
    storage.put(spec.output, storage.read(moved["output"], 0, 1 << 20))
    assert ranked(spec) == BEST


@pytest.mark.parametrize("given", INPUTS)
def test_top_and_depth(given: str, tmp_path: Path) -> None:
    spec = batch(tmp_path, WRITE[given](tmp_path), given, "trec", top_k=1, depth=2)
    assert run(spec) == []
    assert ranked(spec) == {"q1": ["d2"], "q2": ["d4"]}
    records = [one for one in read(spec) if isinstance(one, Record)]
    assert [len(one.documents) for one in records] == [2, 2]


@pytest.mark.parametrize("given", INPUTS)
def test_an_empty_input_is_an_empty_output(given: str, tmp_path: Path) -> None:
    name = WRITE[given](tmp_path)
    if given == "parquet":
        table = pq.read_table(tmp_path / name)
        pq.write_table(table.slice(0, 0), tmp_path / name)
    else:
        (tmp_path / name).write_text("")
    for out in OUTPUTS:
        spec = batch(tmp_path, name, given, out)
        assert run(spec) == []
        assert ranked(spec) == {}


def test_another_kind_of_file_fails_when_it_is_cut(tmp_path: Path) -> None:
    write_beir(tmp_path)
    for given in ("trec", "msmarco"):
        with pytest.raises(BadInput, match="line 1 of") as failure:
            read(batch(tmp_path, "corpus.jsonl", given))
        assert failure.value.code == "invalid_input"
    name = write_trec(tmp_path)
    with pytest.raises(BadInput, match="corpus"):
        read(batch(tmp_path, name, "trec").model_copy(update={"corpus": None}))
    (tmp_path / "corpus.jsonl").write_text("no ids\n")
    with pytest.raises(BadInput, match="_id"):
        read(batch(tmp_path, name, "trec"))


def test_a_changed_or_missing_input_fails_the_batch(tmp_path: Path) -> None:
    for given in INPUTS:
        spec = batch(tmp_path, WRITE[given](tmp_path), given)
        chunk = next(iter(reader(spec.input_format).chunks(spec, 1 << 20)))
        with open(spec.input, "ab") as file:
            file.write(b"\n")
        with pytest.raises(BadInput) as failure:
            list(reader(spec.input_format).read(spec, chunk))
        assert failure.value.code == "input_changed"
        Path(spec.input).unlink()
        with pytest.raises(BadInput, match="does not exist") as failure:
            list(reader(spec.input_format).chunks(spec, 1 << 20))
        assert failure.value.code == "input_missing"


@pytest.mark.parametrize("out", ["trec", "msmarco", "rank_llm"])
def test_an_output_that_names_queries_needs_ids(out: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"query": "q", "documents": ["a"]}\n' + json.dumps(GOOD))
    spec = batch(tmp_path, "in.jsonl", "jsonl", out)
    bad, good = read(spec)
    assert isinstance(bad, Bad)
    assert bad.code == "missing_id"
    assert isinstance(good, Record)
    run(spec)
    assert ranked(spec) == {"x": ["0"]}


def test_a_full_disk_while_merging_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for out in OUTPUTS:
        spec = batch(tmp_path, write_jsonl(tmp_path), "jsonl", out)
        run(spec)
        Path(spec.output).unlink()
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            parts = [one for one in storage.listing(spec.work) if one.endswith(writer(out).suffix)]
            with pytest.raises(OSError, match="No space left"):
                writer(spec.output_format).merged(spec, parts)
        assert not Path(spec.output).exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://b/x.jsonl", "jsonl"),
        ("x.NDJSON.gz", "jsonl"),
        ("a/x.parquet", "parquet"),
        ("top1000.dev.tsv.zst", "msmarco"),
        ("x.run", "trec"),
        ("x.trec.gz", "trec"),
        ("x.csv", None),
        ("jsonl", None),
    ],
)
def test_formats_by_name(url: str, told: str | None) -> None:
    assert guess(url) == told
    assert needs_unpacking(url) == url.endswith((".gz", ".zst"))
