"""Who is counted, what counts, and which notations are refused."""

from __future__ import annotations

from typing import Any

import pytest

from api.app import create_app
from api.rates import brings_work, caller
from rerankq.errors import SettingsError
from rerankq.settings import Settings


def post(path: str, **more: Any) -> Any:
    return {"type": "http", "method": "POST", "path": path, **more}


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1/jobs/job_0/retry", "/v1/rerank", "/rerank", "/v1/files", "/v1/batches"],
)
def test_whatever_brings_work_counts(path: str) -> None:
    assert brings_work(post(path))
    assert not brings_work(post(path) | {"method": "GET"})
    assert not brings_work(post(path) | {"method": "DELETE"})


@pytest.mark.parametrize(
    "path", ["/v1/lanes/bulk/pause", "/v1/workers/w/drain", "/v1/batches/batch_0/cancel"]
)
def test_what_brings_none_does_not(path: str) -> None:
    assert not brings_work(post(path))


def test_a_caller_is_its_key_else_its_address() -> None:
    keyed = caller(post("/", owner="name:etl", client=("10.0.0.1", 1)))
    assert keyed == caller(post("/", owner="name:etl", client=("10.0.0.2", 2)))
    one = caller(post("/", owner="", client=("10.0.0.1", 1)))
    assert one == caller(post("/", client=("10.0.0.1", 2))) == ("address", "10.0.0.1")
    assert one == caller(post("/", client=("::ffff:10.0.0.1", 2)))
    assert len({keyed, one, caller(post("/", owner="", client=("10.0.0.2", 1)))}) == 3
    assert caller(post("/", client=None)), "a Unix socket"


def test_an_ipv6_caller_is_its_site() -> None:
    """It has 2 ** 64 addresses to choose from."""
    one, two, three = (
        caller(post("/", client=(host, 1)))
        for host in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert one == two != three


@pytest.mark.parametrize("notation", ["100", "x/second", "5/fortnight", "0/second", "1/9 years"])
def test_a_notation_that_cannot_be_meant_stops_the_start(notation: str) -> None:
    with pytest.raises(SettingsError, match="RERANKQ_RATE_LIMIT") as caught:
        create_app(Settings(rate_limit=notation))
    assert "\n" not in str(caught.value)
