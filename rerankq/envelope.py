"""A Celery message that is kept in the ledger until its work is done, and only then published.

Celery makes the message as ever (groups, chords, links, expiry and all that later versions add); a
producer that publishes nothing catches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu import Producer
from kombu.utils import json

# What Celery's own publishing would have handed on, less what concerns the act of publishing.
_PROPERTIES = ("correlation_id", "reply_to", "priority")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is left of a task's message when its arguments are taken out of it.

    Attributes:
        routing_key: the queue.
        headers: Celery's (task, id, group, expires, ...).
        embed: what Celery does afterwards: callbacks, errbacks, chain, chord.
        properties: of the message.
    """

    routing_key: str
    headers: dict[str, Any]
    embed: dict[str, Any]
    properties: dict[str, Any]

    def encode(self) -> str:
        """JSON, as kombu writes it."""
        fields = (self.routing_key, self.headers, self.embed, self.properties)
        return str(json.dumps(fields))

    @classmethod
    def decode(cls, text: str) -> Envelope:
        return cls(*json.loads(text))

    def publish(self, producer: Producer, **headers: str) -> None:
        """Send it to its queue, without arguments; what it is about is in the further headers.

        Raises: kombu.exceptions.OperationalError.
        """
        producer.publish(
            ((), {}, self.embed),
            exchange="",
            routing_key=self.routing_key,
            # It has waited for its time already.
            headers={**self.headers, "eta": None, **headers},
            serializer="json",
            delivery_mode=2,
            retry=False,
            **self.properties,
        )


class Catcher:
    """Stands where Celery expects a producer, and keeps the one message it is given."""

    def __init__(self, app: Celery) -> None:
        # Celery looks at it, for its kinds of errors, and never connects.
        self.connection = app.connection_for_write()
        self.caught: Envelope | None = None

    def publish(self, body: Any, *, routing_key: str, headers: Any, **options: Any) -> None:
        properties = {name: options[name] for name in _PROPERTIES if options.get(name) is not None}
        self.caught = Envelope(routing_key, headers, body[2], properties)
