"""Telling callers that their job is final, by the rules of Standard Webhooks.

The outbox is in the ledger (`webhooks`, filled by the script that ends a job), so nothing is lost
with an API process; every process delivers for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import httpx
from pydantic import BaseModel
from standardwebhooks import Webhook

from api.addresses import Forbidden, PublicOnly
from api.views import view
from rerankq.errors import SettingsError
from rerankq.ledger import calls
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.calls import Due
from rerankq.schema import Job
from rerankq.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE = 16
TIMEOUT_S = 10.0
CLAIM_MS = 30_000  # longer than a try can take
MOST_ANSWER_BYTES = 64 * 1024
# Seconds until the next try; after the last one it is given up. About what the specification asks.
BACK_OFF_S = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400)
GONE = 410  # the receiver wants no more


class Event(BaseModel):
    """What is sent. The job is without its results: the receiver fetches what it wants."""

    type: str
    timestamp: datetime
    data: Job


class Webhooks:
    """Delivers what is due, while the front runs.

    Raises: SettingsError: the secret is none.
    """

    def __init__(self, settings: Settings, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._signer = _signer(settings.webhook_secret)
        transport = None if settings.webhook_allow_private else PublicOnly()
        self._http = httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S, trust_env=False)

    @property
    def enabled(self) -> bool:
        return self._signer is not None

    async def run(self) -> None:
        """Until cancelled."""
        async with self._http:
            while True:
                try:
                    due = await self._ledger.run(calls.claim("webhook", CLAIM_MS, AT_ONCE))
                    await asyncio.gather(*map(self._deliver, due))
                except Exception as error:  # whatever it is, the next one must be tried
                    log.warning("no webhook sent", extra={"reason": type(error).__name__})
                    due = []
                if len(due) < AT_ONCE:
                    await asyncio.sleep(LOOK_EVERY_S)

    async def _deliver(self, due: Due) -> None:
        record = await self._ledger.job(due.job_id)
        if record is None or self._signer is None:
            return
        job = view(record)
        event = Event(type=f"job.{job.status}", timestamp=record.final_at, data=job)
        said = await self._send(due, event.model_dump_json(), self._signer)
        again = None if said.done else _back_off(due.attempt)
        await self._ledger.run(calls.ack("webhook", due.job_id, again))
        fields = {"job": due.job_id, "attempt": due.attempt, "answer": said.answer}
        if said.delivered:
            log.info("webhook delivered", extra=fields)
        else:
            log.warning("webhook not delivered", extra={**fields, "again_in_s": again})

    async def _send(self, due: Due, body: str, signer: Webhook) -> _Said:
        now, message_id = datetime.now(UTC), f"msg_{due.job_id}"
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "rerankq-webhooks",
            "webhook-id": message_id,  # the same with every try, so that a receiver can tell
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signer.sign(message_id, now, body),
        }
        try:
            # Over all of it: a receiver that answers a byte a second must not hold a place.
            async with asyncio.timeout(TIMEOUT_S):
                request = self._http.build_request("POST", due.what, content=body, headers=headers)
                response = await self._http.send(request, stream=True)
                await _drain(response)
        except Forbidden as error:
            return _Said(str(error), delivered=False, done=True)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return _Said(type(error).__name__, delivered=False, done=False)
        status = response.status_code
        return _Said(str(status), response.is_success, done=response.is_success or status == GONE)


class _Said:
    """What came of one try."""

    def __init__(self, answer: str, delivered: bool, done: bool) -> None:
        self.answer = answer
        self.delivered = delivered
        self.done = done


async def _drain(response: httpx.Response) -> None:
    """Read a short answer, so that the connection can be used again; leave a long one."""
    read = 0
    async for chunk in response.aiter_raw():
        read += len(chunk)
        if read > MOST_ANSWER_BYTES:
            break
    await response.aclose()


def _back_off(attempt: int) -> float | None:
    """Seconds until the next try after this one, counted from 1; None: it is given up."""
    return BACK_OFF_S[attempt - 1] if attempt <= len(BACK_OFF_S) else None


def _signer(secret: str | None) -> Webhook | None:
    if secret is None:
        return None
    try:
        return Webhook(secret)
    except Exception:  # whatever the library raises, it is not repeated: it may hold the secret
        raise SettingsError(
            "RERANKQ_WEBHOOK_SECRET=(hidden): must be `whsec_` followed by base64"
        ) from None
