"""Keeping public tasks' messages ours for as long as we work on them.

kombu gives an unacknowledged message to another worker once its time in `unacked_index` is older
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

    def _renew(self) -> None:
        task_consumer = getattr(self._consumer, "task_consumer", None)
        if task_consumer is None:
            return
        qos = task_consumer.channel.qos
        # A copy: the consumer's thread adds and removes meanwhile.
        tags = list(qos._delivered)
        if not tags:
            return
        with qos.channel.conn_or_acquire() as client:
            # XX: one that was acknowledged meanwhile must not come back.
            client.zadd(qos.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
