"""Every format in, every format out; what is wrong with an input is said where it is."""

import gzip
import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerankq.bulk import index as index_module
from rerankq.bulk import storage, unpacking
from rerankq.bulk.formats import guess, reader, writer
from rerankq.bulk.records import Bad, BadInput, Record, Scored
from rerankq.bulk.spec import BatchSpec, InputFormat, OutputFormat
from rerankq.bulk.unpacking import needs_unpacking, unpacked

INPUTS = [name for name in get_args(InputFormat) if name != "openai"]
OUTPUTS = [name for name in get_args(OutputFormat) if name != "openai"]

# Each query with its candidates; the score of a text is its count of "!".
QUERIES = {"q1": "what is a queue", "q2": "größe of a lake"}
DOCUMENTS = {
    "d1": "a line of people",
    "d2": "first in first out!!",
    "d3": "a lake!",
    "d4": "Größe!!!",
    "d5": "",
}
CANDIDATES = {"q1": ["d1", "d2", "d5"], "q2": ["d3", "d4", "d1"]}
BEST = {"q1": ["d2", "d1", "d5"], "q2": ["d4", "d3", "d1"]}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def json_lines(values: Sequence[Any]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def as_jsonl() -> list[dict[str, Any]]:
    return [
        {
            "id": qid,
            "query": QUERIES[qid],
            "documents": [{"id": name, "text": DOCUMENTS[name]} for name in CANDIDATES[qid]],
        }
        for qid in QUERIES
    ]


def write_jsonl(folder: Path) -> str:
    (folder / "in.jsonl").write_text(json_lines(as_jsonl()))
    return "in.jsonl"


def write_rank_llm(folder: Path) -> str:
    values = [
        {
            "query": {"text": QUERIES[qid], "qid": qid},
            "candidates": [
                {"docid": name, "score": 9.0 - i, "doc": {"contents": DOCUMENTS[name]}}
                for i, name in enumerate(CANDIDATES[qid])
            ],
        }
        for qid in QUERIES
    ]
    (folder / "in.jsonl").write_text(json_lines(values))
    return "in.jsonl"


def write_msmarco(folder: Path) -> str:
    rows = [(q, d, QUERIES[q], DOCUMENTS[d]) for q in QUERIES for d in CANDIDATES[q]]
    (folder / "in.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return "in.tsv"


def write_beir(folder: Path) -> None:
    corpus = [{"_id": name, "title": "", "text": text} for name, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text(json_lines(corpus))
    queries = [{"_id": name, "text": text, "metadata": {}} for name, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text(json_lines(queries))


def write_trec(folder: Path) -> str:
    write_beir(folder)
    rows = [
        f"{q} Q0 {d} {i} {9.0 - i} bm25\n"
        for q in QUERIES
        for i, d in enumerate(CANDIDATES[q], start=1)
    ]
    (folder / "in.run").write_text("".join(rows))
    return "in.run"


def write_parquet(folder: Path) -> str:
    pq.write_table(pa.Table.from_pylist(as_jsonl()), folder / "in.parquet", row_group_size=1)
    return "in.parquet"


WRITE: dict[str, Callable[[Path], str]] = {
    "jsonl": write_jsonl,
    "rank_llm": write_rank_llm,
    "msmarco": write_msmarco,
    "trec": write_trec,
    "parquet": write_parquet,
}


def batch(folder: Path, name: str, given: str, out: str = "jsonl", **options: Any) -> BatchSpec:
    url = str(folder / name)
    beir = {"corpus": "corpus.jsonl", "queries": "queries.jsonl"} if given == "trec" else {}
    return BatchSpec(
        input=url,
        input_format=given,
        version=storage.stat(url).version,
        output=str(folder / "out"),
        output_format=out,
        errors=str(folder / "errors.jsonl"),
        work=str(folder / "work"),
        **{field: str(folder / file) for field, file in beir.items()},
        **options,
    )


def read(spec: BatchSpec, most_bytes: int = 1 << 20) -> list[Record | Bad]:
    its = reader(spec.input_format)
    return [one for chunk in its.chunks(spec, most_bytes) for one in its.read(spec, chunk)]


def score(record: Record) -> Scored:
    log_odds = [float(text.count("!")) for text in record.documents]
    return Scored(record, log_odds, [], 7, "model", "revision")


def run(spec: BatchSpec, most_bytes: int = 50) -> list[Bad]:
    """All of a batch, with chunks smaller than a record; what was wrong."""
    told, its = reader(spec.input_format), writer(spec.output_format)
    bad: list[Bad] = []
    parts: list[str] = []
    for number, chunk in enumerate(told.chunks(spec, most_bytes)):
        read = list(told.read(spec, chunk))
        bad += [one for one in read if isinstance(one, Bad)]
        scored = [score(one) for one in read if isinstance(one, Record)]
        parts.append(storage.join(spec.work, f"{number}{its.suffix}"))
        data = its.part(spec, scored)
        assert its.part(spec, scored) == data
        storage.put(parts[-1], data)
    its.merged(spec, parts)
    return bad


def ranked(spec: BatchSpec) -> dict[str, list[str]]:
    """The documents' ids of each query as the output has them."""
    out = Path(spec.output)
    if spec.output_format == "parquet":
        rows = pq.read_table(out).to_pylist()
        return {row["id"]: [one["id"] for one in row["results"]] for row in rows}
    lines = out.read_text().splitlines()
    if spec.output_format == "jsonl":
        rows = [json.loads(line) for line in lines]
        return {row["id"]: [one["id"] for one in row["results"]] for row in rows}
    if spec.output_format == "rank_llm":
        rows = [json.loads(line) for line in lines]
        return {row["query"]["qid"]: [one["docid"] for one in row["candidates"]] for row in rows}
    document = 2 if spec.output_format == "trec" else 1
    told: dict[str, list[str]] = {}
    for columns in map(str.split, lines):
        told.setdefault(columns[0], []).append(columns[document])
    return told


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


def test_what_a_json_line_says_else_is_carried_in_its_order(tmp_path: Path) -> None:
    line = {"z": [1, {"ü": None}], "query": "q", "id": 7, "documents": ["a", "b!"], "a": 0.1}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    spec = batch(tmp_path, "in.jsonl", "jsonl", return_documents=True, raw_scores=True)
    assert run(spec) == []
    told = json.loads(Path(spec.output).read_text())
    assert list(told) == ["z", "query", "id", "a", "results"]
    assert {name: told[name] for name in ("z", "query", "id", "a")} == {
        name: line[name] for name in ("z", "query", "id", "a")
    }
    assert told["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "b!"}},
        {"index": 0, "relevance_score": 0.0, "document": {"text": "a"}},
    ]


def test_results_are_probabilities_and_say_what_was_cut(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path)
    spec = batch(tmp_path, name, "jsonl")
    record = read(spec)[0]
    assert isinstance(record, Record)
    scored = Scored(record, [0.0, 2.0, -800.0], [2], 7, "model", "revision")
    told = json.loads(writer("jsonl").part(spec, [scored]))
    assert told["results"] == [
        {"index": 1, "id": "d2", "relevance_score": pytest.approx(0.8807970779778823)},
        {"index": 0, "id": "d1", "relevance_score": 0.5},
        {"index": 2, "id": "d5", "relevance_score": 0.0, "truncated": True},
    ]


GOOD = {"id": "x", "query": "q", "documents": ["a"]}
WRONG: list[tuple[bytes, str, str]] = [
    (b'{"query": "q", ', "invalid_json", "character"),
    (b"[1]", "invalid_record", "object"),
    (b'{"documents": ["a"]}', "invalid_record", "query"),
    (b'{"query": "  ", "documents": ["a"]}', "invalid_record", "query must not be blank"),
    (b'{"query": 3, "documents": ["a"]}', "invalid_record", "query must be a string"),
    (b'{"query": "q"}', "invalid_record", "documents"),
    (b'{"query": "q", "documents": "a"}', "invalid_record", "documents"),
    (b'{"query": "q", "documents": []}', "invalid_record", "documents must not be empty"),
    (b'{"query": "q", "documents": ["a", "b", "c", 4]}', "invalid_record", r"documents\[3\]"),
    (b'{"query": "q", "documents": ["a", null]}', "invalid_record", r"documents\[1\]"),
    (b'{"query": "q", "documents": [{"id": "a"}]}', "invalid_record", r"documents\[0\]\.text"),
    (b'{"query": "q", "documents": ["a"], "id": []}', "invalid_record", "id must be"),
    (b'{"query": "q", "documents": ["a"], "instruction": 1}', "invalid_record", "instruction"),
    (b'{"query": "q", "documents": ["\\ud800"]}', "invalid_record", "surrogate"),
    (b'{"query": "q", "documents": ["a"], "x": NaN}', "invalid_json", "NaN"),
    (b'{"query": "q", "documents": ["a"], "x": 1e999}', "invalid_json", "1e999"),
    (b'{"query": "\xff", "documents": ["a"]}', "invalid_utf8", "byte 11"),
    (b"[" * 100_000, "invalid_json", ""),
    (b'{"query": "q", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "invalid_record", "deeper"),
]


@pytest.mark.parametrize(("line", "code", "detail"), WRONG)
def test_a_wrong_line_is_named_and_the_others_are_scored(
    line: bytes, code: str, detail: str, tmp_path: Path
) -> None:
    good = json.dumps(GOOD).encode() + b"\n"
    (tmp_path / "in.jsonl").write_bytes(good * 16 + line + b"\n" + good)
    told = read(batch(tmp_path, "in.jsonl", "jsonl"))
    assert [type(one) for one in told] == [Record] * 16 + [Bad, Record]
    bad = told[16]
    assert isinstance(bad, Bad)
    assert (bad.line, bad.code) == (16, code)
    assert re.search(detail, bad.detail)


def test_equal_ids_and_keys_given_twice_are_legal(tmp_path: Path) -> None:
    line = '{"id": "a", "id": "x", "query": "q", "documents": ["", ""]}\n'
    (tmp_path / "in.jsonl").write_text(line * 2)
    told = read(batch(tmp_path, "in.jsonl", "jsonl"))
    assert [one.query_id for one in told] == ["x", "x"]


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


def test_an_id_that_would_break_a_run_is_refused(tmp_path: Path) -> None:
    documents = [{"id": "two words", "text": ""}]
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "documents": documents}))
    assert isinstance(read(batch(tmp_path, "in.jsonl", "jsonl", "jsonl"))[0], Record)
    (bad,) = read(batch(tmp_path, "in.jsonl", "jsonl", "trec"))
    assert isinstance(bad, Bad)
    assert (bad.code, bad.query_id) == ("invalid_id", "x")


def test_rank_llm_keeps_all_that_it_had(tmp_path: Path) -> None:
    line = {
        "query": {"text": "q", "qid": 7, "lang": "en"},
        "candidates": [
            {"docid": 1, "score": 3.0, "doc": {"title": "T", "segment": "s", "url": "u"}},
            {"docid": 2, "score": 2.0, "doc": {"text": "t!", "x": [1]}, "extra": True},
        ],
        "more": None,
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    spec = batch(tmp_path, "in.jsonl", "rank_llm", "rank_llm")
    (record,) = read(spec)
    assert isinstance(record, Record)
    assert record.documents == ["Title: T Content: s", "t!"]
    run(spec)
    told = json.loads(Path(spec.output).read_text())
    first, second = line["candidates"]
    ours = [{**second, "score": 1.0}, {**first, "score": 0.0}]
    assert told == {**line, "candidates": ours}
    line["candidates"][0]["doc"] = {"title": "T"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    (bad,) = read(batch(tmp_path, "in.jsonl", "rank_llm"))
    assert isinstance(bad, Bad)
    assert (bad.query_id, bad.detail[:21]) == ("7", "candidates[0].doc has")


def trec_scores(log_odds: Sequence[float], tmp_path: Path) -> list[float]:
    spec = batch(tmp_path, write_jsonl(tmp_path), "jsonl", "trec")
    record = Record(0, "q", [""] * len(log_odds), "q1")
    data = writer("trec").part(spec, [Scored(record, log_odds, [], 0, "m", "r")])
    lines = [line.split() for line in data.decode().splitlines()]
    assert [int(columns[3]) for columns in lines] == list(range(1, len(lines) + 1))
    return [float(columns[4]) for columns in lines]


def test_scores_of_a_run_fall_strictly_in_32_bits_too(tmp_path: Path) -> None:
    single = pa.array(trec_scores([1.0, 3.5, 1.0, 0.0, 0.0, -2.0, -2.0, -2.0], tmp_path))
    told = single.cast(pa.float32(), safe=False).to_pylist()
    assert all(above > below for above, below in pairwise(told))
    assert trec_scores([0.1, 0.30000000000000004], tmp_path) == [0.30000000000000004, 0.1]


def test_a_run_is_read_by_evaluators_as_it_is_ranked(tmp_path: Path) -> None:
    import ir_measures
    from ir_measures import RR

    # All tied: evaluators would go by name, and find d1 first.
    (tmp_path / "in.jsonl").write_text(
        json.dumps(
            {
                "id": "q",
                "query": "q",
                "documents": [{"id": name, "text": "!"} for name in ("d9", "d1", "d5")],
            }
        )
    )
    spec = batch(tmp_path, "in.jsonl", "jsonl", "trec", tag="ours")
    run(spec)
    assert Path(spec.output).read_text().splitlines()[0] == "q Q0 d9 1 1.0 ours"
    told = list(ir_measures.read_trec_run(spec.output))
    for best, rank in (("d9", 1), ("d1", 2), ("d5", 3)):
        qrels = [ir_measures.Qrel("q", best, 1)]
        assert ir_measures.calc_aggregate([RR], qrels, told)[RR] == pytest.approx(1 / rank)


def test_a_run_names_a_document_once(tmp_path: Path) -> None:
    documents = [{"id": name, "text": text} for name, text in (("a", ""), ("b", "!"), ("a", "!!"))]
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "documents": documents}))
    spec = batch(tmp_path, "in.jsonl", "jsonl", "trec")
    run(spec)
    assert ranked(spec) == {"x": ["a", "b"]}


def test_a_trec_run_is_ordered_before_it_is_cut(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "in.run").write_text(
        "q1 Q0 d1 3 1 t\nq1 Q0 d2 1 0 t\nq1\tQ0\td3  2 9 t\nq2 d1 0.5\nq2 d2 7\nq2 d3 1e1\n"
    )
    told = read(batch(tmp_path, "in.run", "trec", depth=2))
    assert [one.ids for one in told if isinstance(one, Record)] == [["d2", "d3"], ["d3", "d2"]]


def test_what_a_trec_run_names_and_is_not_there(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "in.run").write_text(
        "q1 Q0 d1 1 9 t\nq1 Q0 gone 2 8 t\nq1 Q0 d2 x 7 t\nq1 Q0 d3 3 7 t\n"
        "q9 Q0 d1 1 9 t\nq2 Q0 gone 1 9 t\nnot of a run\n"
    )
    spec = batch(tmp_path, "in.run", "trec")
    told = read(spec)
    bad = {(one.line, one.code, one.query_id) for one in told if isinstance(one, Bad)}
    assert bad == {
        (1, "missing_document", "q1"),
        (2, "invalid_record", "q1"),
        (4, "missing_query", "q9"),
        (5, "missing_document", "q2"),
        (6, "invalid_record", None),
    }
    (record,) = [one for one in told if isinstance(one, Record)]
    assert (record.query_id, record.ids) == ("q1", ["d1", "d3"])


def test_titles_stand_above_texts(tmp_path: Path) -> None:
    name = write_trec(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(
        '{"title": "T", "_id": "d1", "text": "t"}\n{"_id": "d2", "title": null, "text": "u"}\n'
        '{"_id": "d\\u0035", "text": "v"}\n'
    )
    record = next(one for one in read(batch(tmp_path, name, "trec")) if isinstance(one, Record))
    assert record.documents == ["T\nt", "u", "v"]


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


def test_a_changed_corpus_fails_the_batch(tmp_path: Path) -> None:
    spec = batch(tmp_path, write_trec(tmp_path), "trec")
    assert all(isinstance(one, Record) for one in read(spec))
    with open(tmp_path / "corpus.jsonl", "a") as file:
        file.write('{"_id": "d6", "text": "new"}\n')
    with pytest.raises(BadInput) as failure:
        read(spec)
    assert failure.value.code == "input_changed"


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


def test_parquet_is_cut_by_row_groups(tmp_path: Path) -> None:
    table = pa.table({"query": ["q"] * 6, "documents": [["a"]] * 6})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    spec = batch(tmp_path, "in.parquet", "parquet")
    size = pq.ParquetFile(tmp_path / "in.parquet").metadata.row_group(0).total_byte_size
    ends = [(one.start, one.stop) for one in reader("parquet").chunks(spec, 2 * size)]
    assert ends == [(0, 2), (2, 4), (4, 6)]
    assert len(list(reader("parquet").chunks(spec, 1))) == 6
    (whole,) = reader("parquet").chunks(spec, 1 << 30)
    assert [one.line for one in reader("parquet").read(spec, whole)] == list(range(6))


def test_parquet_carries_its_columns_in_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1, 2, None], pa.timestamp("ns")),
            "query": pa.array(["q", None, "r"], pa.large_string()),
            "documents": pa.array([["a", "b!"], ["c"], ["d", None]]),
            "weight": pa.array([float("nan"), 1.0, 2.0], pa.float32()),
            "raw": pa.array([b"\xff", b"", b""]),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    spec = batch(tmp_path, "in.parquet", "parquet", "parquet", return_documents=True)
    bad = run(spec, 1 << 20)
    assert [(one.line, one.detail[:12]) for one in bad] == [
        (1, "query must b"),
        (2, "documents[1]"),
    ]
    told = pq.read_table(spec.output)
    assert told.schema.names == ["when", "query", "weight", "raw", "results"]
    assert told.schema.field("when").type == pa.timestamp("ns")
    assert told.column("results").to_pylist() == [
        [
            {
                "index": index,
                "id": None,
                "relevance_score": pytest.approx(score),
                "truncated": False,
                "document": {"text": text},
            }
            for index, score, text in ((1, 0.7310585786300049, "b!"), (0, 0.5, "a"))
        ]
    ]
    run(batch(tmp_path, "in.parquet", "parquet", "jsonl"))
    line = json.loads((tmp_path / "out").read_text())
    assert (line["weight"], line["raw"], line["query"]) == (None, "/w==", "q")
    assert line["when"].startswith("1970-01-01")


def test_parquet_that_cannot_be_used_fails_when_it_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table({"query": ["q"], "docs": [["a"]]}), file)
    with pytest.raises(BadInput, match="no column documents; it has query, docs") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "missing_column"
    pq.write_table(pa.table({"query": ["q"], "documents": ["a"]}), file)
    with pytest.raises(BadInput, match="not a list"):
        read(batch(tmp_path, file.name, "parquet"))
    write_parquet(tmp_path)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BadInput, match=r"in\.parquet") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "input_damaged"


def test_a_damaged_page_is_the_input_s_fault(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    texts = [f"text {number}" for number in range(1000)]
    pq.write_table(pa.table({"query": texts, "documents": [[text] for text in texts]}), file)
    data = bytearray(file.read_bytes())
    data[4:2000] = bytes(1996)
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"in\.parquet") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "input_damaged"


def test_other_fields_of_json_lines_are_one_parquet_column(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "a": [1], "b": "x"}))
    spec = batch(tmp_path, "in.jsonl", "jsonl", "parquet")
    run(spec)
    (row,) = pq.read_table(spec.output).to_pylist()
    assert json.loads(row["fields"]) == {"a": [1], "b": "x"}


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
