"""The Celery app both sides build from the same settings: JSON only, bounded time-outs."""

from __future__ import annotations

import kombu
from celery import Celery
from kombu import Exchange, Queue

from rerankq import tls
from rerankq.errors import SettingsError
from rerankq.ledger.keys import TASK_RERANK, booked_of, queue_of
from rerankq.settings import Settings
from rerankq.status import Lane

LEAST_KOMBU = (5, 7)


def make_app(settings: Settings, *, name: str = "rerankq") -> Celery:
    """A Celery app on the settings' Redis, with the queues and routes of their model.

    Raises: SettingsError: this kombu is too old to give a killed worker's messages back in time.
    """
    if kombu.VERSION[:2] < LEAST_KOMBU:
        raise SettingsError(f"kombu {kombu.__version__} is too old: 5.7 or newer is needed")
    queues = {lane: queue_of(lane, settings.further) for lane in Lane}
    url, secured = tls.without_options(settings.redis_url), tls.options(settings.redis_url)
    app = Celery(name, broker=url, backend=url, set_as_current=False)
    app.conf.update(
        broker_use_ssl=secured,
        redis_backend_use_ssl=secured,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_queues=[Queue(q, Exchange(q), routing_key=q) for q in queues.values()],
        task_routes={TASK_RERANK: {"queue": queues[Lane.BULK]}},
        task_default_queue=queues[Lane.BULK],
        result_expires=settings.result_ttl,
        broker_transport_options={
            **booked_of(settings.further),
            "visibility_timeout": settings.visibility_timeout,
            # By default a killed worker's message came back 95 s after a time-out of 10 s.
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        redis_socket_timeout=5.0,
        redis_socket_connect_timeout=2.0,
        redis_socket_keepalive=True,
        redis_backend_health_check_interval=10,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_send_task_events=False,
        task_send_sent_event=False,
    )
    return app
