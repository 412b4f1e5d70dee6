"""Records come back as they went in, and an unknown version is refused with its bytes kept."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankq.errors import DecodeError
from rerankq.ledger.codec import VERSION, Echo, JobContext, ShardInput, ShardOutput, float32

text = st.text(st.characters(codec="utf-8"), max_size=50)


@given(
    st.builds(ShardInput, st.integers(0, 10**6), st.lists(text, max_size=5).map(tuple))
    | st.builds(JobContext, text, st.none() | text, text, st.none() | st.integers(1))
)
def test_input_round_trip(record: ShardInput | JobContext) -> None:
    assert type(record).decode(record.encode()) == record


@given(
    first=st.integers(0, 10**6),
    scores=st.lists(st.floats(width=32, allow_nan=False), max_size=20).map(tuple),
    truncated=st.lists(st.integers(0, 1000), max_size=5).map(tuple),
)
def test_output_round_trip(
    first: int, scores: tuple[float, ...], truncated: tuple[int, ...]
) -> None:
    output = ShardOutput(first, scores, truncated, 2**40)
    assert ShardOutput.decode(output.encode()) == output


def test_output_is_float32() -> None:
    assert ShardOutput.decode(ShardOutput(0, (0.1,), (), 1).encode()).log_odds == float32([0.1])


@pytest.mark.parametrize("texts", [None, ("a", "b")])
def test_echo_round_trip(texts: tuple[str, ...] | None) -> None:
    echo = Echo(7, ("x", None), texts)
    assert Echo.decode(echo.encode()) == echo


@pytest.mark.parametrize(
    "decode", [JobContext.decode, ShardInput.decode, ShardOutput.decode, Echo.decode]
)
@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", bytes([VERSION + 1]) + b"later", bytes([VERSION]) + b"torn", b"\xff" * 40],
)
def test_foreign_bytes_are_refused_and_kept(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.data == data
