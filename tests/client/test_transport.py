"""What is tried again, how long, and what is raised in the end."""

import time
from collections.abc import Callable
from email.utils import formatdate

import httpx
import pytest

from rerankq import APIError, Client, ConnectionFailed, Overloaded, Unavailable, errors
from rerankq.transport import Send, Sleep, attempts, check, retry_after

REQUEST = httpx.Request("GET", "http://x/")


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=REQUEST)


def test_success_is_returned_at_once() -> None:
    flow = attempts(30)
    assert next(flow) == Send()
    with pytest.raises(StopIteration) as end:
        flow.send(answer(202))
    assert end.value.value.status_code == 202


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_is_tried_again_after_the_named_time(status: int) -> None:
    flow = attempts(30)
    next(flow)
    step = flow.send(answer(status, **{"Retry-After": "7"}))
    assert isinstance(step, Sleep)
    assert step.seconds >= 7
    assert flow.send(None) == Send()


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500])
def test_a_final_refusal_is_not_tried_again(status: int) -> None:
    flow = attempts(30)
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(answer(status))


def test_pauses_grow_and_the_time_ends() -> None:
    flow = attempts(3600)
    next(flow)
    pauses = []
    for _ in range(8):
        step = flow.send(httpx.ConnectError("no"))
        assert isinstance(step, Sleep)
        pauses.append(step.seconds)
        flow.send(None)
    assert pauses[0] <= 0.25
    assert 4 <= pauses[-1] <= 8
    flow = attempts(0)
    next(flow)
    with pytest.raises(ConnectionFailed):
        flow.send(httpx.ConnectError("no"))


def test_retry_after_as_a_date() -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert retry_after(answer(503, **{"Retry-After": in_a_minute})) == pytest.approx(60, abs=2)
    assert retry_after(answer(503, **{"Retry-After": "soon"})) is None
    assert retry_after(None) is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.InvalidRequest),
        (401, errors.Unauthorized),
        (404, errors.NotFound),
        (413, errors.TooLarge),
        (422, errors.InvalidRequest),
        (429, errors.Overloaded),
        (503, errors.Unavailable),
        (500, errors.APIError),
    ],
)
def test_each_status_has_its_error(status: int, error: type[APIError]) -> None:
    body = {"title": "t", "status": status, "code": "c", "detail": "d", "field": "f", "limit": 3}
    with pytest.raises(error) as caught:
        check(httpx.Response(status, json=body, request=REQUEST))
    assert (caught.value.problem.field, caught.value.problem.limit) == ("f", 3)
    with pytest.raises(error):
        check(httpx.Response(status, text="<html>proxy</html>", request=REQUEST))


def replies(*responses: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    left = list(responses)
    return lambda request: left.pop(0)


QUEUE = {"lanes": {}, "backlog": 0, "backlog_tokens": 0, "workers": 1}


def test_the_client_goes_on_where_the_service_recovers() -> None:
    transport = httpx.MockTransport(
        replies(httpx.Response(503), httpx.Response(429), httpx.Response(200, json=QUEUE))
    )
    with Client("http://x", transport=transport) as client:
        assert client.queue().workers == 1


def test_the_client_gives_up_with_the_service_s_own_words() -> None:
    problem = {"title": "t", "status": 429, "code": "backlog_full", "detail": "full"}
    refuse = httpx.MockTransport(lambda request: httpx.Response(429, json=problem))
    with (
        Client("http://x", transport=refuse, retry_for=0) as client,
        pytest.raises(Overloaded) as e,
    ):
        client.queue()
    assert e.value.problem.code == "backlog_full"
    away = httpx.MockTransport(lambda request: httpx.Response(503))
    with Client("http://x", transport=away, retry_for=0) as client, pytest.raises(Unavailable):
        client.queue()
