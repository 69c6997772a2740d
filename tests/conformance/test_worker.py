"""The adapters in memory together: workers with the real engine and driver, killed, fenced and rebalanced.

What stands in the log is judged by the bank's own check, which knows nothing of eventsrc.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import murmur2

from eventsrc.codec import schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import read_reply
from eventsrc.engine.effects import CommandsPolled, Effect, Input, Instant, TransactionInDoubt
from eventsrc.engine.worker import WorkerEngine
from eventsrc.errors import Fenced
from eventsrc.model.identity import command_id_for
from eventsrc.model.names import commands_topic, events_topic, replies_topic
from eventsrc.runtime.driver import Driver
from eventsrc.testing.memory.broker import MemoryBroker, NoAnswer, Request
from eventsrc.testing.memory.worker import MemoryWorker, memory_broker
from examples.bank import app
from examples.bank.app import pipeline
from examples.bank.check import Record, Sent, check, read_schemas
from examples.bank.load import Order, orders
from tests.harness.collect import wait_until

ACCOUNT = "account"
COMMANDS, ACCOUNTS = 300, 50
TIME_LAPSE = 40  # transactions of a worker that was killed end that much sooner
RESEND_S = 0.25
TIMEOUT_S = 30.0


class Customers:
    """Each account's orders one after the other, every tenth sent twice, and all again where no answer comes."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        catalog, aggregate = Catalog(pipeline, None), pipeline.aggregates[ACCOUNT]
        self._write = {
            name: catalog.command_writer(aggregate, getattr(app, name)) for name in ("Open", "Deposit", "Withdraw")
        }
        self._waiting: dict[str, deque[Order]] = {}
        for order in {
            (each.account, each.idempotency_key): each for each in orders(COMMANDS, ACCOUNTS, "run")
        }.values():
            self._waiting.setdefault(order.account, deque()).append(order)
        self._asked: dict[bytes, tuple[Order, float]] = {}
        self.sent: list[Sent] = []

    def serve(self, answers: int) -> None:
        """Until there are so many."""
        self.serve_until(lambda: len(self.sent) >= answers)

    def serve_all(self) -> None:
        """Until every order was answered."""
        self.serve_until(lambda: not self._asked and not any(self._waiting.values()))

    def serve_until(self, condition: Callable[[], bool]) -> None:
        def so() -> bool:
            self._turn()
            return condition()

        wait_until(so, TIMEOUT_S, f"what customers wait for; {len(self.sent)} answers so far")

    def _turn(self) -> None:
        now_s = time.monotonic()
        busy = {order.account for order, _ in self._asked.values()}
        for account, waiting in self._waiting.items():
            if waiting and account not in busy:
                self._ask(waiting.popleft(), now_s)
        for order, asked_s in list(self._asked.values()):
            if now_s - asked_s > RESEND_S:
                self._ask(order, now_s)
        for record in self._broker.read(replies_topic(pipeline.name)):
            reply = read_reply(record.of_value or b"")
            if reply.command_id in self._asked:
                order, _ = self._asked.pop(reply.command_id)
                # A duplicate is what is told where the first answer was lost, or came of the second copy.
                answer, sequence = (
                    ("ok", reply.sequence) if reply.status in ("ok", "duplicate") else (reply.status, None)
                )
                self.sent.append(Sent(*order, answer, sequence, False))

    def _ask(self, order: Order, now_s: float) -> None:
        key = order.account.encode()
        command_id = command_id_for(pipeline.name, ACCOUNT, order.account, order.idempotency_key)
        command = getattr(app, order.name)(**order.body)
        value = self._write[order.name](command_id, None, None, time.time_ns() // 1000, 0, command)
        number = murmur2(key, self._broker.partitions)
        for _ in range(2 if len(self.sent) % 10 == 0 else 1):
            self._broker.append(commands_topic(pipeline.name, ACCOUNT), number, key, value)
        self._asked[command_id] = (order, now_s)


class Bank:
    """A broker with workers on it; all are ended after the test."""

    def __init__(self, directory: Path) -> None:
        self.broker = memory_broker(pipeline)
        self.broker.clock_s = lambda: TIME_LAPSE * time.monotonic()
        self.customers = Customers(self.broker)
        self.workers: list[MemoryWorker] = []
        schema_files.export(directory, Catalog(pipeline, None).schemas())
        self._schemas = read_schemas(directory)

    def start(self, instance: str) -> MemoryWorker:
        worker = MemoryWorker(pipeline, self.broker, instance)
        self.workers.append(worker)
        return worker

    def kill(self, worker: MemoryWorker) -> None:
        """And its session ends."""
        worker.kill()
        self.workers.remove(worker)
        self.broker.end_session(worker.process.instance)

    def wait_members(self, *instances: str) -> None:
        """Customers wait meanwhile, so that there is work left when they have joined."""
        members = self.broker.group.members
        wait_until(lambda: self.broker.group.members.keys() == set(instances), TIMEOUT_S, f"{instances}, not {members}")

    def verdict(self) -> None:
        """Every order was answered, took effect once, and nothing else stands in the log."""
        self.customers.serve_all()
        for worker in self.workers:
            worker.drain()
        records = [
            Record(each.of_partition, each.at, each.of_key, each.of_value)
            for each in self.broker.read(events_topic(pipeline.name, ACCOUNT))
        ]
        verdict = check(self.customers.sent, records, self._schemas)
        assert verdict.problems == []
        assert verdict.events > COMMANDS / 2
        assert verdict.balance == verdict.deposited - verdict.withdrawn


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Bank]:
    made = Bank(tmp_path)
    yield made
    made.broker.on_request = None
    for worker in made.workers:
        worker.kill()


def at(passing: int, what: Request, whose: str, do: Callable[[], object]) -> Callable[[Request, str], None]:
    """Does it before the n-th such request takes effect."""
    seen = 0

    def on_request(asked: Request, by: str) -> None:
        nonlocal seen
        if (asked, by) == (what, whose):
            seen += 1
            if seen == passing:
                do()

    return on_request


def test_one_worker_processes_every_command_once(bank: Bank) -> None:
    bank.start("one")
    bank.verdict()


@pytest.mark.parametrize("what", ["offsets", "commit", "reply"])
@pytest.mark.parametrize("passing", [1, 4])
def test_killed_in_a_transaction_its_partitions_go_to_another(bank: Bank, what: Request, passing: int) -> None:
    killed = bank.start("one")
    bank.broker.on_request = at(passing, what, "one", killed.process.kill)
    if what != "reply":
        bank.start("two")
    bank.customers.serve_until(lambda: killed.process.killed)
    bank.kill(killed)
    bank.start("three")
    bank.verdict()


def test_killed_and_started_again_under_its_instance_id(bank: Bank) -> None:
    """Its session has not ended: the new life has everything back, and fences what the old one left open."""
    killed = bank.start("one")
    bank.broker.on_request = at(4, "commit", "one", killed.process.kill)
    bank.customers.serve_until(lambda: killed.process.killed)
    killed.kill()
    bank.workers.remove(killed)
    bank.start("one")
    bank.verdict()


def test_workers_come_and_go(bank: Bank) -> None:
    bank.start("one")
    bank.customers.serve(60)
    two = bank.start("two")
    bank.wait_members("one", "two")
    bank.customers.serve(120)
    bank.start("three")
    bank.wait_members("one", "two", "three")
    bank.customers.serve(160)
    two.drain()
    bank.workers.remove(two)
    bank.broker.end_session("two")
    bank.customers.serve(210)
    bank.broker.end_session("three")  # it lives, and learns that it has lost everything
    bank.wait_members("one", "three")
    bank.customers.serve(260)
    assert bank.broker.group.members.keys() == {"one", "three"}
    bank.verdict()


def test_a_broker_that_does_not_answer_for_a_while(bank: Bank) -> None:
    """Commits are repeated, and each producer that has repeated one is replaced."""
    bank.start("one")
    silent = iter(range(1, 100_000))

    def now_and_then(what: Request, by: str) -> None:
        if what in ("offsets", "commit") and next(silent) % 7 < 3:
            raise NoAnswer

    bank.broker.on_request = now_and_then
    bank.verdict()


def test_a_commit_whose_call_never_returns(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library may outlast its own timeouts: its thread is given up with its producer."""
    stuck = threading.Event()

    def impatient(*arguments: Any, **settings: Any) -> Driver:
        return Driver(*arguments, **{**settings, "await_transaction_s": 0.5})

    monkeypatch.setattr("eventsrc.testing.memory.worker.Driver", impatient)
    bank.broker.on_request = at(4, "commit", "one", lambda: stuck.wait(TIMEOUT_S))
    bank.start("one")
    bank.verdict()
    assert not stuck.is_set()
    stuck.set()


def test_a_commit_that_returned_while_the_next_batch_was_decided(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that took: its outcome waits in the inbox, and is not in doubt. (The clock is put forward: a limit that
    is slept through is short, and a stalling machine outlasts it as well.)"""
    limit_s = 30.0
    drivers: list[Driver] = []
    held_up: list[Input] = []
    doubts: list[Input] = []
    ahead = threading.Event()
    step = WorkerEngine.step

    def patient(*arguments: Any, **settings: Any) -> Driver:
        drivers.append(Driver(*arguments, **{**settings, "await_transaction_s": limit_s}))
        return drivers[-1]

    def slow(engine: WorkerEngine, happened: Input, at: Instant) -> list[Effect]:
        effects = step(engine, happened, at)
        if isinstance(happened, TransactionInDoubt):
            doubts.append(happened)
        if isinstance(happened, CommandsPolled) and engine.lane.ahead is not None and not held_up:
            held_up.append(happened)
            ahead.set()
            wait_until(lambda: not drivers[0]._inbox.empty(), TIMEOUT_S, "the commit has returned")
            drivers[0]._sent_s -= 1.5 * limit_s
            drivers[0]._ticked_s -= (
                1.5 * limit_s
            )  # it looks for calls that do not return before it looks into the inbox
        return effects

    def commit_when_the_next_is_decided(what: Request, by: str) -> None:
        """Customers send again what is not answered soon, so that there is a next one; not while partitions are taken over."""
        if what == "commit":
            ahead.wait(4 * RESEND_S)

    monkeypatch.setattr("eventsrc.testing.memory.worker.Driver", patient)
    monkeypatch.setattr(WorkerEngine, "step", slow)
    bank.broker.on_request = commit_when_the_next_is_decided
    bank.broker.clock_s = time.monotonic  # nobody is killed: no time lapse, in which a moment outlives a transaction
    bank.start("one")
    bank.verdict()
    assert held_up
    assert not doubts


def test_a_second_process_with_the_same_instance_id_ends_the_first(bank: Bank) -> None:
    first = bank.start("one")
    bank.customers.serve(60)
    bank.start("one")
    wait_until(lambda: first.failure is not None, TIMEOUT_S, "the first one has ended")
    bank.customers.serve(120)
    bank.workers.remove(first)
    with pytest.raises(Fenced):
        first.drain()
    bank.verdict()
