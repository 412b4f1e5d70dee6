"""The models behind this API: for each a ledger, its workers, and those who wait for its jobs."""

from __future__ import annotations

import redis.asyncio

from api.fleet import Fleet
from api.joining import Joined
from api.problems import Refusal
from api.submission import Submission
from api.waiting import Waiter
from api.webhooks import Webhooks
from rerankq.errors import SettingsError
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.batches import tag_in_batch
from rerankq.ledger.keys import root_of, tag_of
from rerankq.ledger.records import WorkerInfo, tag_in
from rerankq.settings import Settings


class Pool:
    """One model's parts.

    Args:
        further: the name of a further model; None: the default one.
    """

    def __init__(
        self, settings: Settings, client: redis.asyncio.Redis, further: str | None
    ) -> None:
        self.further = further
        self.model = further or settings.model
        aliases = () if further else settings.model_aliases
        # What a request may call it; none: as it likes.
        self.names = () if "*" in aliases else (self.model, *aliases)
        self.tag = tag_of(further)
        self.ledger = AsyncLedger(client, root_of(further))
        self.fleet = Fleet(self.ledger)
        self.waiter = Waiter(self.ledger)
        self.joined = Joined(self.ledger, self.waiter)
        self.webhooks = Webhooks(settings, self.ledger)
        self.submission = Submission(
            settings,
            self.ledger,
            self.fleet,
            model=self.model,
            tag=self.tag,
            webhooks=self.webhooks.enabled,
        )


class Pools:
    """All of them, and which one a request means.

    Raises: SettingsError: a further model has a name of the default one.
    """

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        for model in settings.models:
            if model in (settings.model, *settings.model_aliases):
                raise SettingsError(
                    f"RERANKQ_MODELS={','.join(settings.models)}: {model} already names the "
                    "default model, by RERANKQ_MODEL or RERANKQ_MODEL_ALIASES"
                )
        self.default = Pool(settings, client, None)
        self.all = [self.default, *(Pool(settings, client, name) for name in settings.models)]
        self._aliases = settings.model_aliases
        self._by_model = {pool.model: pool for pool in self.all}
        self._by_tag = {pool.tag: pool for pool in self.all}

    def of_model(self, model: str | None) -> Pool:
        """By a name of the model; None: the default.

        Raises: Refusal: 404.
        """
        if model in self._by_model:
            return self._by_model[model]
        if model is None or model in self._aliases or "*" in self._aliases:
            return self.default
        further = (pool.model for pool in self.all[1:])
        served = ", ".join([self.default.model, *self._aliases, *further])
        detail = f"model: {model!r} is not served here; served: {served}"
        raise Refusal(404, "model_not_found", detail, field="model", limit=served)

    def of_job(self, job_id: str) -> Pool | None:
        """Where a job with this id would be; None: it is no job's id."""
        tag = tag_in(job_id)
        return None if tag is None else self._by_tag.get(tag)

    def of_batch(self, batch_id: str) -> Pool | None:
        """Where a batch with this id would be; None: it is no batch's id."""
        tag = tag_in_batch(batch_id)
        return None if tag is None else self._by_tag.get(tag)

    async def ready(self) -> list[WorkerInfo]:
        """The ready workers of all models."""
        return [worker for pool in self.all for worker in await pool.fleet.ready()]
