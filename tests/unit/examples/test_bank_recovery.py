"""What the demo reads in a worker's log."""

from __future__ import annotations

from pathlib import Path

from examples.bank.recovery import Opened, read

LOG = """\
2026-11-23 10:00:00,000 INFO    eventsrc.engine  partition account/3 open after 0.66 s: 0 aggregates, the log's beginning \
and 0 events after it; commands from offset 0 on, term 0
2026-11-23 10:00:09,000 INFO    eventsrc.engine  partition account/3 open after 0.51 s: 1326 aggregates, the checkpoint \
at position 9767 and 883 events after it; commands from offset 10604 on, term 10666
"""


def test_the_last_of_each_partition_counts(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text(LOG)
    assert read(log, 0) == {3: Opened(3, True, 883)}
    assert read(log, len(LOG.splitlines()[0])) == {3: Opened(3, True, 883)}
    assert read(log, len(LOG)) == {}
