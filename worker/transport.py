"""kombu's Redis transport, made safe for public tasks: taken and booked in one script.

kombu pops a message with BRPOP and books it in a hash by a second call: killed in between, a worker
takes it to the grave. Here nothing is popped by what blocks. A connection for each public
queue waits until the queue has something (BLMOVE of its last message onto its own place), and one
script then pops and books it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from time import monotonic, time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import Redis
from redis.exceptions import ResponseError

from rerankq.ledger.connection import is_full

log = logging.getLogger(__name__)

# KEYS: unacked_index, unacked, then the lists, first come first served. ARGV: the time, in seconds.
# Gives the list, the message's tag and its text; no tag with what it cannot read: that is no
# message, or has what cjson refuses and Python takes (half a surrogate pair).
# The text is stored as it is, beside its exchange and routing key: cjson would not write it equal.
# RPOP first: on a full Redis only a script that has written already may go on.
POP = """
local function inside(value, name)
  return type(value) == 'table' and value[name] or nil
end
for i = 3, #KEYS do
  local raw = redis.call('RPOP', KEYS[i])
  if raw then
    local ok, message = pcall(cjson.decode, raw)
    local properties = inside(ok and message, 'properties')
    local tag, info = inside(properties, 'delivery_tag'), inside(properties, 'delivery_info')
    local exchange, routing_key = inside(info, 'exchange'), inside(info, 'routing_key')
    if type(tag) ~= 'string' or type(exchange) ~= 'string' or type(routing_key) ~= 'string' then
      return {KEYS[i], '', raw}
    end
    local where = cjson.encode(exchange) .. ',' .. cjson.encode(routing_key)
    redis.call('HSET', KEYS[2], tag, '[' .. raw .. ',' .. where .. ']')
    redis.call('ZADD', KEYS[1], ARGV[1], tag)
    return {KEYS[i], tag, raw}
  end
end
return nil
"""


class Peek:
    """The standing question whether a queue has something, on a connection of its own."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._client = channel._create_client(asynchronous=True)
        self._asked = False
        self._due = 0.0  # when the answer is; after a refusal, when to ask again

    def ask(self) -> None:
        """Unless it was asked already. Raises: redis.RedisError: there is no connection."""
        channel, client = self._channel, self._client
        cycle, now = channel.connection.cycle, monotonic()
        if self._asked and now > self._due + channel.health_check_interval:
            client.connection.disconnect()  # it is open on this side only
        if not cycle._client_registered(channel, client, self._queue):
            cycle._register(channel, client, self._queue)
            self._asked = False
        if self._asked or now < self._due:
            return
        same = (self._queue, self._queue, "RIGHT", "RIGHT")
        client.connection.send_command("BLMOVE", *same, channel.brpop_timeout)
        self._asked, self._due = True, now + channel.brpop_timeout

    def answered(self) -> None:
        """Read what became readable. Raises: redis.RedisError: the connection is gone."""
        connection = self._client.connection
        if not self._asked:  # Redis has closed it as idle, while there was no room for more
            connection.disconnect()
            return
        self._asked = False
        try:
            self._client.parse_response(connection, "BLMOVE")
            self._due = 0.0
        except ResponseError as error:  # Redis is full
            log.warning("queue not watched", extra={"reason": type(error).__name__})
        except self._channel.connection_errors:
            connection.disconnect()
            raise

    def close(self) -> None:
        if self._client.connection is not None:  # there was a Redis to connect to
            self._client.connection.disconnect()


class Client(Redis):
    """Pipelines are no transactions: a full Redis refuses to queue even what would free memory."""

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Any:
        return super().pipeline(transaction, shard_hint)


@contextmanager
def unless_full(otherwise: str) -> Iterator[None]:
    """What a worker can do without while Redis is full, and would end of otherwise."""
    try:
        yield
    except ResponseError as error:
        if not is_full(error):
            raise
        log.warning("redis is full", extra={"so": otherwise})


class QoS(redis.QoS):  # type: ignore[misc]
    """kombu's book of deliveries, in which the script has written already."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """What Redis's JSON cannot read and kombu's can is booked here."""
        if self.channel.unread:
            with unless_full("a public task is worked on unbooked"):
                super().append(message, delivery_tag)
                return
        virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        with unless_full("public tasks are not restored"):
            super().restore_visible(*args, **kwargs)

    def restore_by_tag(self, tag: Any, *args: Any, **kwargs: Any) -> None:
        try:
            with unless_full("a public task is left to its visibility timeout"):
                super().restore_by_tag(tag, *args, **kwargs)
        except ValueError as error:  # booked and never dropped: it would block all behind it
            log.error("no message: dropped", extra={"reason": type(error).__name__})
            self._remove_from_indices(tag).execute()


class Channel(redis.Channel):  # type: ignore[misc]
    """Takes from the public queues, by the script; there are no others."""

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.peeks: dict[str, Peek] = {}
        self.unread = False  # the script could not read the message that is being delivered
        self._turns: list[str] = []  # the queue that was served last, last
        super().__init__(*args, **kwargs)

    @property
    def active_queues(self) -> list[str]:
        """Those that BRPOP waits for: none."""
        return []

    @property
    def _public(self) -> list[str]:
        """The queues that are consumed, less the broadcasts of Celery's remote control."""
        return [q for q in self._active_queues if q not in self.active_fanout_queues]

    def peek(self) -> None:
        """Wait for the public queues, if there is room for what they may have."""
        for queue in self._public:
            if self.qos.can_consume():
                if queue not in self.peeks:
                    self.peeks[queue] = Peek(self, queue)
                self.peeks[queue].ask()

    def take(self) -> None:
        """Deliver what the public queues have and there is room for, each in its turn."""
        while self.qos.can_consume():
            queues = sorted(self._public, key=self._turn)
            lists = [self._q_for_pri(queue, n) for n in self.priority_steps for queue in queues]
            with self.conn_or_acquire() as client:
                keys = [self.unacked_index_key, self.unacked_key, *lists]
                taken = self._pop(keys=keys, args=[time()], client=client)
            if taken is None:
                return
            queue, tag = bytes_to_str(taken[0]).split(self.sep)[0], bytes_to_str(taken[1])
            self._turns = [*(q for q in self._turns if q != queue), queue]
            self._hand_on(queue, tag, taken[2])

    def _turn(self, queue: str) -> int:
        return self._turns.index(queue) if queue in self._turns else -1

    def _hand_on(self, queue: str, tag: str, text: bytes) -> None:
        try:
            payload = loads(bytes_to_str(text))
            message = self.Message(payload, channel=self)
            where = message.delivery_info["exchange"], message.delivery_info["routing_key"]
            if not all(
                isinstance(part, str | bytes)
                for part in (message.body, message.delivery_tag, *where)
            ):
                raise TypeError("no body, or no address")  # Celery would die of it
        except Exception as error:  # whatever a foreign text makes of kombu's reading
            fields = {"queue": queue, "bytes": len(text), "reason": type(error).__name__}
            log.error("no message: dropped", extra=fields)
            self.qos._remove_from_indices(tag).execute()
        else:
            self.unread = not tag
            try:
                self.connection._deliver(payload, queue)
            finally:
                self.unread = False

    def _get_client(self) -> type[Client]:
        return Client

    def _queue_bind(self, *args: Any) -> None:
        with unless_full("a queue is as an earlier worker has bound it"):
            super()._queue_bind(*args)

    def _close_clients(self) -> None:
        for peek in self.peeks.values():
            peek.close()
        super()._close_clients()

    @cached_property
    def _pop(self) -> Any:
        return self._create_client().register_script(POP)


class Poller(redis.MultiChannelPoller):  # type: ignore[misc]
    """kombu's loop, which keeps the questions standing."""

    def on_poll_start(self) -> None:
        super().on_poll_start()
        for channel in self._channels:
            channel.peek()

    def maybe_restore_messages(self) -> None:
        """Give back what dead workers had booked: kombu asks no channel that waits by no BRPOP."""
        for channel in self._channels:
            if channel._public:
                with suppress(*channel.connection_errors):  # the next time, then
                    channel.qos.restore_visible(
                        num=channel.unacked_restore_limit,
                        interval=channel.unacked_restore_throttle,
                    )
                return  # they share one book

    def on_readable(self, fileno: int) -> Any:
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if channel is not None and kind in channel.peeks:
            channel.peeks[kind].answered()
            return channel.take()  # whatever the answer was: priorities have lists of their own
        return super().on_readable(fileno)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
