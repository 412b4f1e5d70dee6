"""However a text is cut, its chunks together are its lines and its runs, each once and in order."""

from itertools import groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankq.bulk import lines as lines_module
from rerankq.bulk.chunks import Chunk, byte_chunks
from rerankq.bulk.lines import count, lines, runs

# A few signs, so that ends of lines, blank lines and equal keys meet at every cut.
TEXTS = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"a 1", b"a 2", b"b 1", b"x", b" ", b"\xef\xbb\xbf", b"\xff"]),
    max_size=30,
).map(b"".join)
CUTS = st.lists(st.integers(0, 90), max_size=6)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cut(size: int, cuts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(sorted({0, size, *(place for place in cuts if place < size)})))


def key(line: bytes) -> bytes | None:
    columns = line.split()
    return columns[0] if len(columns) == 2 else None


def plain_lines(data: bytes) -> list[bytes]:
    told = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line.removesuffix(b"\r") for line in told if line.strip()]


@quick
@given(data=TEXTS, cuts=CUTS)
def test_lines_of_any_cut_are_the_lines_of_the_file(
    data: bytes, cuts: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "text"
    file.write_bytes(data)
    told = [list(lines(str(file), *ends)) for ends in cut(len(data), cuts)]
    assert [line.text for chunk in told for line in chunk] == plain_lines(data)
    for (start, stop), chunk in zip(cut(len(data), cuts), told, strict=True):
        assert all(start <= line.at < stop for line in chunk)
    counts = [count(str(file), *ends) for ends in cut(len(data), cuts)]
    assert sum(counts) == data.count(b"\n") + bool(data and not data.endswith(b"\n"))
    assert all(line.number < its for its, chunk in zip(counts, told, strict=True) for line in chunk)


@quick
@given(data=TEXTS, cuts=CUTS)
def test_runs_of_any_cut_are_the_runs_of_the_file(
    data: bytes, cuts: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "text"
    file.write_bytes(data)
    told = [run for ends in cut(len(data), cuts) for run in runs(str(file), *ends, key)]
    keyed = [line for line in plain_lines(data) if key(line) is not None]
    texts = [[line.text for line in run.lines] for run in told if run.key is not None]
    assert texts == [list(its) for _, its in groupby(keyed, key)]
    others = [run.lines[0].text for run in told if run.key is None]
    assert others == [line for line in plain_lines(data) if key(line) is None]


def test_key_before_a_range_is_found_through_small_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "_BLOCK", 3)
    file = tmp_path / "text"
    file.write_bytes(b"first 1\nlongerkey 2\n\nnot of this format\nlongerkey 3\nlast 4\n")
    for place in range(1, 60):
        told = [*runs(str(file), 0, place, key), *runs(str(file), place, 60, key)]
        sizes = [(run.key, len(run.lines)) for run in told if run.key]
        assert sizes == [(b"first", 1), (b"longerkey", 2), (b"last", 1)]


def test_a_run_over_the_limit_is_told_by_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"a 1\n\na 2\na 3\na 4\nb 1\nb 2\n")

    def told(most: int | None = None) -> set[tuple[tuple[bytes | None, int, bool], ...]]:
        """However the file is cut in two; runs by their keys, lines and excess."""
        return {
            tuple(
                (run.key, len(run.lines), run.too_long)
                for start, stop in ((0, place), (place, 25))
                for run in runs(str(file), start, stop, key, most)
            )
            for place in range(25)
        }

    assert told() == {((b"a", 4, False), (b"b", 2, False))}
    assert told(most=1) == {((b"a", 1, False), (b"b", 1, False))}
    monkeypatch.setattr(lines_module, "MOST_LINES", 2)
    assert told() == {((b"a", 1, True), (b"b", 2, False))}
    assert told(most=2) == {((b"a", 2, False), (b"b", 2, False))}
    monkeypatch.undo()
    monkeypatch.setattr(lines_module, "MOST_BYTES", 8)
    assert told() == {((b"a", 1, True), (b"b", 2, False))}


def test_a_line_over_the_limit_is_passed_over_and_never_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "LONGEST", 10)
    monkeypatch.setattr(lines_module, "_BLOCK", 4)
    file = tmp_path / "text"
    file.write_bytes(b"1234567890\n12345678901\nend")
    told = list(lines(str(file), 0, None))
    assert [line.text for line in told] == [b"1234567890", None, b"end"]
    assert [line.at for line in told] == [0, 11, 23]
    assert [line.text for line in lines(str(file), 15, None)] == [b"end"]


def test_numbers_count_blank_lines_of_the_range(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"a\n\n\nb\n\nc")
    assert [line.number for line in lines(str(file), 0, None)] == [0, 3, 5]
    assert [line.number for line in lines(str(file), 1, None)] == [2, 4]


def test_chunks_are_cut_by_arithmetic() -> None:
    assert list(byte_chunks(10, 4)) == [Chunk(0, 4, 4), Chunk(4, 8, 4), Chunk(8, 10, 2)]
    assert list(byte_chunks(10, 40, weight=8.0)) == [
        Chunk(0, 5, 40),
        Chunk(5, 10, 40),
    ]
    assert list(byte_chunks(0, 4)) == []
    assert Chunk.decode(Chunk(1, 2, 3).encode()) == Chunk(1, 2, 3)
