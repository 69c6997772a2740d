"""The one thread beside the loop that a transaction needs: it sends offsets and commits while the loop decides the
next batch. Both calls release the GIL. What came of it goes to the loop's inbox, as an input of the engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from eventsrc.engine.batch import Batch
from eventsrc.engine.effects import TransactionAborted, TransactionCommitted, TransactionInDoubt
from eventsrc.errors import AbortRequired, OutcomeInDoubt, TransactionOutlived
from eventsrc.ports import Transactions

Outcome = TransactionCommitted | TransactionAborted | TransactionInDoubt


class CommitThread:
    """Takes batches that were produced; reports each outcome once."""

    def __init__(self, report: Callable[[Outcome | Exception], None]) -> None:
        self._report = report
        self._work: queue.SimpleQueue[tuple[Transactions, Batch, AbortRequired | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="eventsrc-commit", daemon=True)
        self._thread.start()

    def finish(self, producer: Transactions, batch: Batch) -> None:
        """Send its offsets and commit."""
        self._work.put((producer, batch, None))

    def abort(self, producer: Transactions, batch: Batch, cause: AbortRequired) -> None:
        """It failed while it was being produced."""
        self._work.put((producer, batch, cause))

    def close(self, timeout_s: float) -> None:
        """Ends after what is under way."""
        self._work.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._report(self._outcome(*work))
            except Exception as failure:  # noqa: BLE001 - a defect here must end the worker, not this thread alone
                self._report(failure)

    def _outcome(self, producer: Transactions, batch: Batch, failed: AbortRequired | None) -> Outcome:
        try:
            if failed is not None:
                raise failed
            last_offsets = producer.finish(batch)
        except AbortRequired as cause:
            return self._aborted(producer, batch, cause)
        except OutcomeInDoubt as doubt:
            return TransactionInDoubt(batch, str(doubt), timed_out=isinstance(doubt, TransactionOutlived))
        return TransactionCommitted(batch, last_offsets, producer.suspect)

    @staticmethod
    def _aborted(producer: Transactions, batch: Batch, cause: AbortRequired) -> Outcome:
        try:
            producer.abort()
        except OutcomeInDoubt as doubt:
            return TransactionInDoubt(batch, f"{cause}; {doubt}", timed_out=isinstance(doubt, TransactionOutlived))
        return TransactionAborted(batch, str(cause), producer_usable=not producer.suspect)
