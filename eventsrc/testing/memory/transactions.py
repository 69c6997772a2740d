"""Transactions in memory: `ports.Transactions` on a `MemoryBroker`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from eventsrc.engine.batch import Batch, BatchKind, DeadLetter
from eventsrc.engine.counts import Counts
from eventsrc.engine.notes import Owner, write_note
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import AbortRequired, OutcomeInDoubt, TransactionOutlived, WorkerError
from eventsrc.model.names import dead_letter_topic
from eventsrc.model.position import Offset
from eventsrc.testing.memory.broker import FencedProducer, MemoryBroker, NoAnswer
from eventsrc.testing.memory.group import StaleProof
from eventsrc.testing.memory.log import CommittedOffset, Transaction
from eventsrc.testing.memory.process import MemoryProcess

_REPEAT_AFTER_S = 0.005


class MemoryTransactions:
    """Takes the transactional id when it is made."""

    def __init__(self, process: MemoryProcess, owner: Owner, timeout_s: float) -> None:
        self._process = process
        self._owner = owner
        self._timeout_s = timeout_s
        self._abandoned = False
        self._suspect = False
        self._produced = False
        self._last: dict[PartitionKey, Offset] = {}
        self._epoch = 0
        self._until_answered(self._take_id)

    @property
    def suspect(self) -> bool:
        return self._suspect

    def send(self, batch: Batch) -> None:
        self._produced = False
        self._last = {}
        _refuse_unfenced(batch)
        try:
            self._produce(batch)
        except NoAnswer:
            pass  # it waits in the client, until `finish`

    def finish(self, batch: Batch) -> Mapping[PartitionKey, Offset]:
        self._refuse_abandoned()
        self._until_answered(lambda: self._produce(batch))
        if batch.kind is BatchKind.BARRIERS:
            for key, section in batch.sections.items():
                section.note = write_note(self._owner, self._last[key], Counts(), section.topics, section.before)
        self._until_answered(lambda: self._send_offsets(batch))
        self._refuse_abandoned()
        self._until_answered(lambda: self._end(committed=True))
        return self._last

    def abort(self) -> None:
        if not self._produced:
            return  # nothing has reached the broker
        try:
            self._until_answered(lambda: self._end(committed=False))
        except WorkerError as failed:
            raise OutcomeInDoubt(str(failed)) from failed

    def abandon(self) -> None:
        self._abandoned = True

    # ---- requests; each may be repeated

    def _take_id(self) -> None:
        with self._process.request("init") as broker:
            self._epoch = broker.take_id(self._owner.transactional_id)

    def _produce(self, batch: Batch) -> None:
        if self._produced:
            return
        with _translated("producing"), self._process.request("produce") as broker:
            transaction = broker.begin(self._owner.transactional_id, self._epoch, self._timeout_s)
            self._produced = True
            for key, section in batch.sections.items():
                for of_key, value, time_ms in section.records:
                    self._last[key] = broker.events(key).append(of_key, value, time_ms, writer=transaction)
                for letter in section.dead_letters:
                    _bury(broker, letter, transaction)

    def _send_offsets(self, batch: Batch) -> None:
        with _translated("sending offsets"), self._process.request("offsets") as broker:
            transaction = broker.open_transaction(self._owner.transactional_id, self._epoch)
            broker.group.check(batch.metadata)
            for key, section in batch.sections.items():
                transaction.offsets[key] = CommittedOffset(section.position, section.note)

    def _end(self, *, committed: bool) -> None:
        with _translated("ending"), self._process.request("commit" if committed else "abort") as broker:
            broker.end(self._owner.transactional_id, self._epoch, committed=committed)

    # ---- asking until there is an answer

    def _until_answered(self, call: Callable[[], None]) -> None:
        give_up_s = time.monotonic() + self._timeout_s
        while True:
            try:
                return call()
            except NoAnswer as silent:
                self._suspect = True
                if self._abandoned or time.monotonic() > give_up_s:
                    raise OutcomeInDoubt("no answer; given up") from silent
            time.sleep(_REPEAT_AFTER_S)

    def _refuse_abandoned(self) -> None:
        if self._abandoned:
            raise OutcomeInDoubt("the transaction was given up before its commit was asked for")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except StaleProof as refused:
        raise AbortRequired(f"{what}: the group metadata is of an earlier generation, or of no member") from refused
    except FencedProducer as fenced:
        if fenced.outlived:
            raise TransactionOutlived(f"{what}: the transaction was open for too long and was aborted") from fenced
        raise OutcomeInDoubt(f"{what}: another producer holds the transactional id") from fenced


def _bury(broker: MemoryBroker, letter: DeadLetter, transaction: Transaction) -> None:
    topic, number = dead_letter_topic(broker.pipeline), letter.partition % broker.partitions
    broker.log(topic, number).append(letter.key, letter.value, broker.wall_ms(), letter.headers, transaction)


def _refuse_unfenced(batch: Batch) -> None:
    if not batch.sections:
        raise AssertionError("a transaction without offsets has no fence")
    if not batch.metadata:
        raise AbortRequired("the group metadata proves no membership: this worker is not in the group")
    for key, section in batch.sections.items():
        if section.position < 0:
            raise AssertionError(f"a negative position for partition {key} would not be fenced")
