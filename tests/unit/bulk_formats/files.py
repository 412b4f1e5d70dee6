"""Two queries and their candidates as a file of each format, and a batch over it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from rerankq.bulk import storage
from rerankq.bulk.formats import reader, writer
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec, InputFormat, OutputFormat

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

GOOD = {"id": "x", "query": "q", "documents": ["a"]}


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
