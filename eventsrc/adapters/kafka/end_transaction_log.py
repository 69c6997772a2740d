"""Sees in librdkafka's log that a request of a transaction may still be on its way.

After a disconnect or a request timeout librdkafka repeats a request without a word to its caller, or gives it up. The
broker may get the first copy late, in the middle of the next transaction: a late EndTxn commits half of it, a late
TxnOffsetCommit adds offsets of the one before, which then stand beside too few events. The only sign is a log line of
a connection; whoever sees one must replace the producer before its next begin, because a new producer's epoch makes
the broker refuse the late copy.
"""

from __future__ import annotations

import logging

_SIGNS = ("FAIL", "REQTMOUT")
_NEVER_TRANSACTIONAL = "/bootstrap: "  # for metadata alone; a thread may keep that name, with "]" behind it


class EndTransactionWatch(logging.Handler):
    """The log handler of one producer. `logger` is to be given to the client, with `log_level` 6 or more."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.DEBUG)
        self.seen = False
        self.logger = logging.Logger(
            f"eventsrc.librdkafka.{name}", logging.DEBUG
        )  # a private one: no registry, no parent
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if _NEVER_TRANSACTIONAL not in line and any(sign in line for sign in _SIGNS):
            self.seen = True
        level = logging.DEBUG if record.levelno < logging.ERROR else logging.WARNING
        logging.getLogger("eventsrc.librdkafka").log(level, "%s", line)
