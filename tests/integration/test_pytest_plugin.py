"""The plugin's fixtures, as a project uses them, on real services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from eventsrc import EventsrcError, Pipeline, apply, handle
from examples.bank.app import Account, Deposit, Deposited, Open, pipeline

if TYPE_CHECKING:
    from eventsrc.testing.pytest_plugin import Run


def test_a_pipeline_of_the_tests_own_survives_a_kill(eventsrc_run: Run) -> None:
    bank = eventsrc_run(pipeline)
    assert bank.pipeline.name.startswith("bank-test-")
    bank.client.send(Account, "alice", Open("Ada"))
    bank.client.send(Account, "alice", Deposit(5), idempotency_key="k")
    bank.kill()
    bank.start()
    assert bank.client.send(Account, "alice", Deposit(5), idempotency_key="k").duplicate
    account = bank.client.get(Account, "alice")
    assert account is not None
    assert account.balance == 5
    with pytest.raises(EventsrcError, match="runs already"):
        bank.start()


def test_two_at_once_are_apart(eventsrc_run: Run, eventsrc_bootstrap_servers: str) -> None:
    one, other = eventsrc_run(pipeline), eventsrc_run(pipeline)
    one.client.send(Account, "alice", Open("Ada"))
    assert one.client.send(Account, "alice", Deposit(5)).events == (Deposited(5),)
    assert other.client.get(Account, "alice") is None
    topics = AdminClient({"bootstrap.servers": eventsrc_bootstrap_servers}).list_topics(timeout=10).topics
    assert {f"{each.pipeline.name}.account.events" for each in (one, other)} <= topics.keys()


def test_a_pipeline_that_no_process_can_import(eventsrc_run: Run) -> None:
    local = Pipeline("local")

    @local.command
    class Go:
        pass

    @local.event
    class Gone:
        pass

    @local.aggregate
    class Thing:
        @handle
        def go(self, command: Go) -> Gone:
            return Gone()

        @apply
        def gone(self, event: Gone) -> None: ...

    with pytest.raises(EventsrcError, match='Name it: app="module:attribute"'):
        eventsrc_run(local)
