"""What a worker counts of itself: what has committed, once."""

from __future__ import annotations

from eventsrc.engine.batch import Batch, BatchKind, DeadLetter, Section
from eventsrc.engine.counts import Counts
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.totals import Histogram, Totals
from eventsrc.model.position import Position
from tests.scenario.stage import Stage
from tests.unit.engine.test_reporting import LOADING, OPENED, READING, TAKEN


def test_a_value_at_a_bound_is_within_it() -> None:
    histogram = Histogram((1, 10))
    for value in (0.5, 1, 1.5, 10, 11, 1000):
        histogram.observe(value)
    assert histogram.report() == ((1.0, 10.0), (2, 2, 2), 1024.0)


def test_a_batch_counts_by_what_it_added_to_its_partitions_counts() -> None:
    batch = Batch(BatchKind.COMMANDS, b"")
    for number, before in enumerate((Counts(100, 10, 1, 0, 5), Counts())):
        section = Section(PartitionKey("account", number), Position(0), Position(9), counts_before=before)
        section.counts_after = after = before.copy()
        after.applied, after.rejected = before.applied + 2, before.rejected + 1
        after.duplicate, after.dead = before.duplicate + 3, before.dead + 2
        section.records = [(b"a@1#0", b"", 0)] * 3
        section.dead_letters = [
            DeadLetter(number, None, None, (("eventsrc.reason", reason), ("eventsrc.offset", b"1")))
            for reason in (b"null-key", b"constraint")
        ]
        batch.sections[section.key] = section
    batch.commands = 16
    totals = Totals()
    totals.sent(10.0)
    totals.transaction_committed(batch, 10.25)
    totals.sent(11.0)
    totals.transaction_committed(Batch(BatchKind.BARRIERS, b""), 11.5)
    found = totals.report()
    assert (found.applied, found.rejected, found.empty, found.duplicate, found.dead) == (4, 2, 0, 6, 4)
    assert found.dead_by_reason == {"null-key": 2, "constraint": 2}
    assert (found.events, found.transactions_committed) == (6, 2)
    assert (sum(found.transaction_s.counts), found.transaction_s.sum) == (2, 0.75)
    assert (sum(found.batch_commands.counts), found.batch_commands.sum) == (1, 16)


def test_a_takeover_is_a_rebalance_a_transaction_and_a_recovery() -> None:
    stage = Stage(has_snapshots=True)
    stage.play(TAKEN + LOADING + READING + OPENED)
    found = stage.engine.totals.report()
    assert (found.rebalances, found.transactions_committed, found.recoveries, found.events_replayed) == (1, 1, 1, 2)
    assert found.applied == found.events == found.halts == 0
