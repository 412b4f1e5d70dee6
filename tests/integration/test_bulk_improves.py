"""A data set in BEIR's layout, ranked by BM25 and then by the demo model: does it help?"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from scripts.localsystem import DEMO_MODEL, LocalSystem
from tests.integration.bm25_misleading import CORPUS, QUERIES
from tests.integration.command import run

K1, B = 1.2, 0.75


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class BM25:
    """Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), with Lucene's idf."""

    def __init__(self, corpus: dict[str, str]) -> None:
        self._texts = {name: words(text) for name, text in corpus.items()}
        self._mean = sum(map(len, self._texts.values())) / len(corpus)

    def run(self, queries: dict[str, str]) -> str:
        """All documents that share a word with a query, as a TREC run."""
        lines = []
        for query_id, query in queries.items():
            found = {name: self._score(words(query), text) for name, text in self._texts.items()}
            best = sorted((name for name in found if found[name]), key=lambda name: -found[name])
            for rank, name in enumerate(best, 1):
                lines.append(f"{query_id} Q0 {name} {rank} {found[name]} bm25\n")
        return "".join(lines)

    def _score(self, query: list[str], text: list[str]) -> float:
        norm = K1 * (1 - B + B * len(text) / self._mean)
        found = ((self._idf(word), text.count(word)) for word in query)
        return sum(idf * count * (K1 + 1) / (count + norm) for idf, count in found)

    def _idf(self, word: str) -> float:
        having = sum(word in text for text in self._texts.values())
        return math.log(1 + (len(self._texts) - having + 0.5) / (having + 0.5))


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A folder as BEIR's are, and in it BM25's run."""
    corpus = [{"_id": name, "title": "", "text": text} for name, text in CORPUS.items()]
    queries = [{"_id": name, "text": text} for name, (text, _) in QUERIES.items()]
    for file, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        (tmp_path / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "qrels").mkdir()
    judged = "".join(f"{name}\t{relevant}\t1\n" for name, (_, relevant) in QUERIES.items())
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    run_of_bm25 = BM25(CORPUS).run({name: text for name, (text, _) in QUERIES.items()})
    (tmp_path / "bm25.run").write_text(run_of_bm25)
    return tmp_path


def test_reranking_improves_on_bm25(
    demo_system: LocalSystem, beir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_run = ("--corpus", beir / "corpus.jsonl", "--queries", beir / "queries.jsonl")
    given, out = beir / "bm25.run", beir / "reranked.run"
    variables = {"redis_url": demo_system.redis_url, "model": str(DEMO_MODEL)}
    said = run("bulk", given, out, *of_run, "--poll", "0.1", **variables)
    assert said.code == 0, said.err
    judgements = beir / "qrels" / "test.tsv"
    told = run("eval", out, judgements, "--before", given, "--measures", "nDCG@10", "--json")
    measured = json.loads(told.out)["measures"]["nDCG@10"]
    with capsys.disabled():
        print(f"\nnDCG@10: {measured['before']:.3f} by BM25, {measured['value']:.3f} reranked")
    assert measured["difference"] > 0.1
