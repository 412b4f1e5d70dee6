"""The client for whoever runs the service: lanes and workers."""

from __future__ import annotations

from rerankq.client import Client
from rerankq.errors import ConnectionFailed, InvalidRequest
from rerankq.status import Lane
from rerankq.transport import parsed
from rerankq.views import LaneView, PurgeView, WorkerList, WorkerView


class Operator(Client):
    """A `Client` that also acts on lanes and workers.

    Every method raises `Forbidden` if keys are needed and this one is no operator's. A lane is the
    default model's unless another is named.
    """

    def pause(self, lane: Lane, model: str | None = None) -> LaneView:
        """Let workers take nothing more of the lane; what comes waits, and its deadline runs."""
        return parsed(LaneView, self._send(self._calls.lane(lane, "pause", model)))

    def resume(self, lane: Lane, model: str | None = None) -> LaneView:
        """Let workers take of the lane again."""
        return parsed(LaneView, self._send(self._calls.lane(lane, "resume", model)))

    def purge(self, lane: Lane, model: str | None = None) -> PurgeView:
        """Cancel every open job of the lane, whoever made it. There is no way back."""
        request = self._calls.lane(lane, "purge", model, confirm=lane)
        return parsed(PurgeView, self._send(request))

    def ask_to_purge(self, lane: Lane, model: str | None = None) -> str:
        """What a purge would cancel now, in the service's words; nothing is cancelled."""
        try:
            self._send(self._calls.lane(lane, "purge", model))
        except InvalidRequest as refusal:
            return refusal.problem.detail
        raise ConnectionFailed(f"no rerankq service answers at {self._calls.url}")

    def workers(self) -> list[WorkerView]:
        """Every worker that is alive."""
        return parsed(WorkerList, self._send(self._calls.workers())).data

    def drain(self, worker: str) -> WorkerView:
        """Ask a worker to end its batch, hand the rest back and exit; it does within seconds.

        Raises: NotFound: no such worker is alive.
        """
        return parsed(WorkerView, self._send(self._calls.drain(worker)))
