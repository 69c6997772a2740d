"""`Client` and `AsyncClient`: send commands and get their outcomes, read aggregates and their history.

A client connects at its first use. Never fork after that: use the spawn start method.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.config import without_address
from eventsrc.codec.control import Reply
from eventsrc.codec.framing import prefix_of
from eventsrc.errors import EventsrcError, NotThisKind
from eventsrc.model.identity import check_aggregate_id, command_id_for, random_command_id
from eventsrc.model.moments import moment_of
from eventsrc.model.names import commands_topic, replies_topic
from eventsrc.model.recorded import Outcome, Recorded
from eventsrc.runtime.catalogs import open_catalog
from eventsrc.runtime.channel import CommandChannel
from eventsrc.runtime.connection import Connection, KafkaConnection
from eventsrc.runtime.duplicates import DuplicateReader
from eventsrc.runtime.reading import AggregateReader, check_partition_count
from eventsrc.runtime.replies import WaitingCommand, outcome_of
from eventsrc.runtime.sending import check_handled, encoded_command
from eventsrc.runtime.settings import (
    Settings,
    address_within,
    kafka_text,
    librdkafka_name,
    refuse_protected,
)

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline

A = TypeVar("A")

_CLOSE_GRACE_S = 5.0
_REMEMBERED_OUTCOMES = 65_536


class _Route(NamedTuple):
    """Everything that sending one kind of command to one kind of aggregate needs, looked up once."""

    aggregate: AggregateType
    topic: str
    validate: Callable[[Any], None]
    write: Callable[..., bytes]


class Client:
    """Sends commands, waits for what becomes of them, and reads aggregates. Use it in a `with` block, or `close` it.

    Safe for several threads. Commands to one id take effect in the order in which one thread sends them. It connects at
    its first use; one made before a fork cannot be used after it.

    `bootstrap_servers` and further librdkafka settings (dots as underscores) stand above `settings`, which by default
    are found as the command line finds them. Raises `InvalidSettings`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        bootstrap_servers: str | None = None,
        settings: Settings | None = None,
        **librdkafka: Any,
    ) -> None:
        self._pipeline = pipeline
        self._settings = _client_settings(bootstrap_servers, settings, librdkafka)
        self._catalog = self._new_catalog()
        self._compiling = threading.Lock()  # a catalog compiles for one thread at a time
        self._routes: dict[tuple[type | str, type], _Route] = {}
        self._checked_topics: set[str] = set()
        self._sequences: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._connecting = threading.RLock()
        self._channel: CommandChannel | None = None
        self._reader: AggregateReader | None = None
        self._duplicates: DuplicateReader | None = None
        self._process = os.getpid()
        self._closed = False

    def send(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 10.0
    ) -> Outcome:
        """Send a command and wait, up to `timeout` seconds, until it is committed.

        Raises `InvalidCommand` or `InvalidId` before anything is sent; `Rejected`; `CommandFailed` once it is
        dead-lettered; `IdempotencyConflict`; `OutcomeUnknown` when no answer came in time; `Unreachable` or
        `TopicsInvalid` where it certainly was not sent.
        """
        current, channel, duplicates = threading.current_thread(), self._channel, self._duplicates
        if (channel is not None and channel.serves(current)) or (duplicates is not None and duplicates.serves(current)):
            raise EventsrcError("send waits for an answer, so it cannot be called in a future's callback: use submit")
        return self.submit(cls, id, command, idempotency_key=idempotency_key, timeout=timeout).result()

    def submit(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 60.0
    ) -> Future[Outcome]:
        """Send a command without waiting. The future ends as `send` would; it cannot be cancelled, since a command
        cannot be taken back. What is wrong before sending is raised here."""
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        route = self._routes.get((cls, type(command))) or self._find_route(cls, command)
        aggregate = route.aggregate
        key = check_aggregate_id(id)
        if idempotency_key is None:
            command_id = random_command_id()
        else:
            command_id = command_id_for(self._pipeline.name, aggregate.name, id, idempotency_key)
        channel = self._channel
        if channel is None or route.topic not in self._checked_topics or self._process != os.getpid():
            self._encode(route, command_id, None, command)  # a wrong command is told apart before Kafka is needed
            channel = self._connected(route.topic)
        value = self._encode(route, command_id, channel.reply_partition, command)
        partition = murmur2(key, self._pipeline.settings.partitions)
        repeatable = None if idempotency_key is None else command
        waiting = WaitingCommand(command_id, aggregate, key, time.monotonic() + timeout, timeout, partition, repeatable)
        channel.send(waiting, route.topic, partition, value)
        return waiting.future

    def get(self, cls: type[A], id: str, at: datetime | str | None = None) -> A | None:
        """The aggregate's committed state, now or at a past moment; None if it never existed (or not yet).

        `at`: an aware datetime, or what the command line takes: `"-15m"`, `"2026-11-22T10:00:00Z"`, `"#17"`, `"@p0:123"`,
        `"start"`, `"end"`. The command in which the moment falls is there whole. Sees every outcome that this client was
        given. The object is the caller's own. Raises `InvalidMoment`, `Unreachable`, `TopicsInvalid`,
        `LogInconsistent`, `UnknownSchema`.
        """
        aggregate, key = self._pipeline.aggregate_type(cls), check_aggregate_id(id)
        moment = None if at is None else moment_of(at)
        state = self._connected_reader().fold(aggregate, key, at_least=self._seen(aggregate, key), at=moment)
        return cast("A | None", state)

    def history(self, cls: type | str, id: str) -> list[Recorded]:
        """Every event of the aggregate, in order; empty if it never existed. Sees and raises what `get` does."""
        aggregate, key = self._pipeline.aggregate_type(cls), check_aggregate_id(id)
        steps = self._connected_reader().steps(aggregate, key, at_least=self._seen(aggregate, key))
        return [step.recorded for step in steps]

    def is_ready(self, cls: type | str, command: type) -> bool:
        """Whether submitting such a command needs no round trip of its own."""
        route = self._routes.get((cls, command))
        return self._channel is not None and route is not None and route.topic in self._checked_topics

    def close(self, timeout: float = _CLOSE_GRACE_S) -> None:
        """Wait up to `timeout` seconds for outstanding answers; what is left ends with `OutcomeUnknown`.
        May be called again."""
        self._closed = True
        if self._process != os.getpid():
            return  # a forked copy: the threads and sockets are the parent's
        with self._connecting:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close(timeout)
        with self._connecting:
            duplicates, self._duplicates = self._duplicates, None
            reader, self._reader = self._reader, None
        if duplicates is not None:
            duplicates.close()
        if reader is not None:
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(_CLOSE_GRACE_S if error is None else 0.0)

    def _connection(self) -> Connection:
        return KafkaConnection(self._settings.require_bootstrap_servers(), self._settings.kafka)

    def _new_catalog(self) -> Catalog:
        return open_catalog(self._pipeline, self._settings)

    def _encode(self, route: _Route, command_id: bytes, reply_partition: int | None, command: Any) -> bytes:
        limit, now_us = self._pipeline.settings.max_command_bytes, time.time_ns() // 1000
        return encoded_command(
            route.validate, route.write, limit, command, command_id, None, None, now_us, reply_partition
        )

    def _find_route(self, cls: type | str, command: Any) -> _Route:
        aggregate = self._pipeline.aggregate_type(cls)
        kind = type(command)
        check_handled(aggregate, kind)
        topic = commands_topic(self._pipeline.name, aggregate.name)
        validate = self._pipeline.commands[kind].validate
        with self._compiling:
            route = _Route(aggregate, topic, validate, self._catalog.command_writer(aggregate, kind))
        self._routes[(cls, kind)] = route
        return route

    def _connected(self, topic: str) -> CommandChannel:
        """The channel, once it is known that the commands topic has the partitions that ids are spread over."""
        self._check_usable()
        with self._connecting:
            self._check_usable()
            channel = self._channel
            if channel is None:
                channel = self._channel = CommandChannel(
                    self._connection(), replies_topic(self._pipeline.name), self._read_reply, self._answered
                )
            if topic not in self._checked_topics:
                check_partition_count(topic, channel.partition_count(topic), self._pipeline.settings.partitions)
                self._checked_topics.add(topic)
            return channel

    def _connected_reader(self) -> AggregateReader:
        self._check_usable()
        return self._open_reader()

    def _open_reader(self) -> AggregateReader:
        with self._connecting:
            if self._reader is None:
                self._reader = AggregateReader(self._pipeline, self._new_catalog(), self._connection())
            return self._reader

    def _check_usable(self) -> None:
        if self._process != os.getpid():
            raise EventsrcError(
                "this client was made before a fork and cannot be used after it: make one in each process"
            )
        if self._closed:
            raise EventsrcError("this client is closed")

    def _answered(self, waiting: WaitingCommand, reply: Reply) -> None:
        """On the channel's thread."""
        self._remember(waiting, reply.sequence)
        try:
            outcome = outcome_of(reply, waiting, self._decode)
            if outcome.duplicate:
                self._read_back(waiting, outcome)
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this command's, and the thread lives on
            waiting.fail(error)
        else:
            waiting.succeed(outcome)

    def _read_reply(self, value: bytes) -> Reply:
        with self._compiling:
            read = self._catalog.control_reader(prefix_of(value))
        reply = read(value)
        if not isinstance(reply, Reply):
            raise NotThisKind(f"a {type(reply).__name__} where an answer was expected")
        return reply

    def _decode(self, aggregate: AggregateType, value: bytes) -> Any:
        with self._compiling:
            read = self._catalog.event_reader(aggregate, prefix_of(value))
        return read(value)[1]

    def _read_back(self, waiting: WaitingCommand, outcome: Outcome) -> None:
        if self._duplicates is None:
            self._duplicates = DuplicateReader(self._open_reader(), self._pipeline.settings.partitions)
        self._duplicates.read_back(waiting, outcome)

    def _remember(self, waiting: WaitingCommand, sequence: int) -> None:
        place = (waiting.aggregate.name, waiting.key)
        self._sequences[place] = max(sequence, self._sequences.get(place, 0))  # never missing in between: others look
        self._sequences.move_to_end(place)
        if len(self._sequences) > _REMEMBERED_OUTCOMES:
            self._sequences.popitem(last=False)

    def _seen(self, aggregate: AggregateType, key: bytes) -> int:
        return self._sequences.get((aggregate.name, key), 0)


class AsyncClient:
    """`Client` for asyncio: the same contract, awaited. One event loop at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        bootstrap_servers: str | None = None,
        settings: Settings | None = None,
        **librdkafka: Any,
    ) -> None:
        self._client = Client(pipeline, bootstrap_servers, settings, **librdkafka)

    async def send(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 10.0
    ) -> Outcome:
        """As `Client.send`. Cancelling it stops the wait, not the command."""
        return await asyncio.wrap_future(
            await self.submit(cls, id, command, idempotency_key=idempotency_key, timeout=timeout)
        )

    async def submit(
        self, cls: type | str, id: str, command: Any, *, idempotency_key: str | None = None, timeout: float = 60.0
    ) -> Future[Outcome]:
        """As `Client.submit`: returns once the command is queued."""

        def submit() -> Future[Outcome]:
            return self._client.submit(cls, id, command, idempotency_key=idempotency_key, timeout=timeout)

        if self._client.is_ready(cls, type(command)):
            return submit()
        return await asyncio.to_thread(submit)

    async def get(self, cls: type[A], id: str, at: datetime | str | None = None) -> A | None:
        """As `Client.get`."""
        return await asyncio.to_thread(self._client.get, cls, id, at)

    async def history(self, cls: type | str, id: str) -> AsyncIterator[Recorded]:
        """As `Client.history`, for `async for`."""
        for recorded in await asyncio.to_thread(self._client.history, cls, id):
            yield recorded

    async def close(self, timeout: float = _CLOSE_GRACE_S) -> None:
        """As `Client.close`. `async with` does it."""
        await asyncio.to_thread(self._client.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(_CLOSE_GRACE_S if error is None else 0.0)


def _client_settings(
    bootstrap_servers: str | None, settings: Settings | None, librdkafka: Mapping[str, Any]
) -> Settings:
    own = {librdkafka_name(name): kafka_text(value) for name, value in librdkafka.items()}
    refuse_protected(own)
    address = bootstrap_servers or address_within(own)
    if settings is None:
        settings = Settings.resolve({"bootstrap_servers": address})
    address = address or settings.bootstrap_servers or address_within(settings.kafka)
    return replace(settings, bootstrap_servers=address, kafka=without_address({**settings.kafka, **own}))
