"""What scenarios with a snapshot store begin with: two accounts in a checkpoint, and a partition taken again."""

from __future__ import annotations

from collections.abc import Callable

from eventsrc.engine.partition import PartitionKey
from tests.scenario.stage import Stage

Opened = Callable[..., Stage]
ACCOUNT_0 = PartitionKey("account", 0)

STORED_ONE = """
    commands account/0 0:deposit5 1:b.deposit6
    -> commit account/0 0..2 @1#0 @1#0 by m1
    committed account/0=2
    -> answer ok@1 ok@1
    request account/0
    tick 1
    turn
    -> write account/0 #1 position 3 seen 3 commands 2: b@1 id@1 all
    written account/0 #1
"""
"""Two accounts, and a checkpoint of both: number 1."""

TAKEN_AGAIN = """
    lost account/0
    assigned account/0
    -> ask account/0 #2
    stable account/0 #2 committed {committed} log 0..50 term 0
    -> commit barriers account/0 to {committed} by m1
    committed account/0={barrier}
    -> load account/0 #2 term {barrier}
"""


def stored_one(stage: Stage) -> Stage:
    stage.play(STORED_ONE)
    return stage


def live(stage: Stage) -> set[str]:
    """Ids of the aggregates that are objects now."""
    partition = stage.engine.owned[ACCOUNT_0].partition
    assert partition is not None
    return {key.decode().rstrip("0123456789") for key in partition.live}
