"""What need not be read is not, and no end is missed for it."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from api.waiting import Waiter
from rerankq.status import JobStatus

JOB = "job_1"
DONE = {"type": "message", "data": b"job_1 succeeded interactive 12"}
SUBSCRIBED = {"type": "subscribe", "data": 1}


class CountingLedger:
    """One job, and how often it was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.status = JobStatus.QUEUED

    async def job(self, _: str) -> Any:
        self.reads += 1
        return SimpleNamespace(status=self.status)


def test_all_waits_end_with_the_process() -> None:
    async def run() -> Any:
        waiter = Waiter(CountingLedger())  # type: ignore[arg-type]
        waiter._hear(SUBSCRIBED)
        waiting = asyncio.create_task(waiter.until_final(JOB, 60, time.monotonic()))
        await asyncio.sleep(0)
        assert not waiter.ending
        waiter.end_waits(time.monotonic() + 0.01)
        assert waiter.ending
        return await waiting, await waiter.until_final(JOB, 60)

    assert [job.status for job in asyncio.run(run())] == [JobStatus.QUEUED] * 2


def waited(*heard: Any, subscribed_after: bool = False, made: bool = True) -> int:
    """Reads of a job of which this is heard before the wait begins, and its end during it."""

    async def run() -> int:
        ledger = CountingLedger()
        waiter = Waiter(ledger)  # type: ignore[arg-type]
        if not subscribed_after:
            waiter._hear(SUBSCRIBED)
        made_at = time.monotonic() if made else None
        for message in heard:
            ledger.status = JobStatus.SUCCEEDED
            waiter._hear(message)
        if subscribed_after:
            waiter._hear(SUBSCRIBED)
        waiting = asyncio.create_task(waiter.until_final(JOB, 5, made_at))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not waiting.done():
            ledger.status = JobStatus.SUCCEEDED
            waiter._hear(DONE)
        assert (await waiting).status is JobStatus.SUCCEEDED
        return ledger.reads

    return asyncio.run(run())


def test_a_job_that_was_just_made_is_read_at_its_end_alone() -> None:
    assert waited() == 1


def test_one_that_was_there_before_is_read_first() -> None:
    assert waited(made=False) == 2


def test_one_that_ended_before_the_wait_is_read_at_once() -> None:
    assert waited(DONE) == 1


def test_one_that_may_have_ended_unheard_is_read_first() -> None:
    """The subscription began, or came back, after it was made."""
    assert waited(subscribed_after=True) == 2


def test_a_wait_that_ends_says_how_the_job_is() -> None:
    async def run() -> Any:
        waiter = Waiter(CountingLedger())  # type: ignore[arg-type]
        waiter._hear(SUBSCRIBED)
        return await waiter.until_final(JOB, 0.01, time.monotonic())

    assert asyncio.run(run()).status is JobStatus.QUEUED
