"""How good a ranking is, by judgements: any measure that ir_measures has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rerankq.errors import UsageError

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")

Run = Mapping[str, Sequence[str]]  # query id -> document ids, best first
Judgements = Mapping[str, Mapping[str, int]]  # query id -> document id -> grade


def measured(run: Run, judgements: Judgements, measures: Sequence[str]) -> dict[str, float]:
    """Each measure, on average over the judged queries.

    A run's places count, not its scores: tools that sort tied scores anew, by document id, rank
    otherwise than the run does.

    Raises: UsageError: ir_measures is not installed, or does not know a measure.
    """
    ir = _ir_measures()
    wanted = [_parsed(ir, name) for name in measures]
    qrels = [
        ir.Qrel(query, document, grade)
        for query, grades in judgements.items()
        for document, grade in grades.items()
    ]
    places = [
        ir.ScoredDoc(query, document, float(-place))
        for query, documents in run.items()
        for place, document in enumerate(documents)
    ]
    found = ir.calc_aggregate(wanted, qrels, places)
    return {str(measure): float(found[measure]) for measure in wanted}


def read_run(path: str) -> Run:
    """A TREC run, `qid Q0 docid rank score tag` or `qid docid score`: by score, ties as they stand.

    Raises: UsageError: it is none.
    """
    scored: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for number, columns in _lines(path):
        try:
            if len(columns) == 3:
                query, document, score = columns
            else:
                query, _, document, _, score, *_ = columns
            scored[query].append((-float(score), document))
        except ValueError:
            raise UsageError(f"{path}:{number}: not a line of a TREC run") from None
    # Sorting is stable: among equals the first line stays first.
    return {
        query: [document for _, document in sorted(rows, key=lambda row: row[0])]
        for query, rows in scored.items()
    }


def read_judgements(path: str) -> Judgements:
    """TREC's qrels (`qid 0 docid grade`), or BEIR's (`query-id corpus-id score`, with a header).

    Raises: UsageError: they are neither.
    """
    grades: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for number, columns in _lines(path):
        if number == 1 and columns[-1] == "score":
            continue
        try:
            query, document, grade = columns if len(columns) == 3 else (columns[0], *columns[2:])
            grades[query][document] = int(grade)
        except ValueError:
            raise UsageError(f"{path}:{number}: not a line of judgements") from None
    return grades


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if columns := line.split():
                yield number, columns


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError:
        raise UsageError("eval needs ir_measures: pip install ir-measures") from None
    return ir_measures


def _parsed(ir: Any, name: str) -> Any:
    try:
        return ir.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise UsageError(f"--measures: {name!r} is no measure of ir_measures: {error}") from None
