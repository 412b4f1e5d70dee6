"""Keeping public tasks' messages ours for as long as we work on them.

kombu gives an unacknowledged message to another worker once its time among those booked is older
than the visibility timeout; nothing in Celery ever renews it.
"""

from __future__ import annotations

import logging
import time
from typing import Any

log = logging.getLogger(__name__)


class Deliveries:
    """Renews every message the consumer holds, waiting for a thread or running."""

    def __init__(self) -> None:
        self._consumer: Any = None

    def follow(self, consumer: Any) -> None:
        """Use this Celery consumer from now on (it makes a new channel when it reconnects)."""
        self._consumer = consumer

    def renew(self) -> None:
        """Failing to renew is no reason to stop: at worst another worker does the work too."""
        try:
            self._renew()
        except Exception as error:  # Redis, or a channel that kombu is just replacing
            log.warning("deliveries not renewed", extra={"reason": type(error).__name__})

    def let_go(self, tag: str) -> None:
        """Renew it no longer: it comes back, to whomever, after its visibility timeout."""
        qos = self._qos()
        if qos is not None:
            qos._delivered.pop(tag, None)

    def hand_back(self) -> None:
        """Give all of them back to their queues at once, at the front, before this process dies."""
        qos = self._qos()
        if qos is not None:
            with qos.channel.conn_or_acquire() as client:
                for tag in list(qos._delivered):
                    qos.restore_by_tag(tag, client, leftmost=True)

    def _renew(self) -> None:
        qos = self._qos()
        # A copy: the consumer's thread adds and removes meanwhile.
        tags = list(qos._delivered) if qos is not None else []
        if not tags:
            return
        with qos.channel.conn_or_acquire() as client:
            # XX: one that was acknowledged meanwhile must not come back.
            client.zadd(qos.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)

    def _qos(self) -> Any:
        """kombu's book of what it delivered to us; None before the consumer is up."""
        task_consumer = getattr(self._consumer, "task_consumer", None)
        return None if task_consumer is None else task_consumer.channel.qos
