"""Row 12: commands whose deciding, every time, takes longer than the group waits for a worker."""

from __future__ import annotations

from collections.abc import Callable

from tests.scenario.stage import Stage

Opened = Callable[..., Stage]
LIMIT_S = 300
"""`max_poll_interval` of the shop, in which each transaction is sent after half a second."""

LOST = """
    commands account/0 0:deposit5 1:deposit6 2:deposit7 taking {seconds} by m{number}
    -> open account/0 at 1
    -> record overlong account/0 0 #{number}
    -> commit account/0 0..1 @1#{term} by m{number}
    aborted
    -> open account/0 at 0
    lost account/0
    assigned account/0
    -> ask account/0 #{next}
    stable account/0 #{next} committed 0 log 0..50
    -> commit barriers account/0 to 0 by m1
    committed account/0={barrier}
    -> read account/0
    events account/0 0:barrier {barrier}:barrier
    -> stop reading account/0
    -> open account/0 at 0
"""


def lose(stage: Stage, number: int, seconds: int = LIMIT_S + 1) -> None:
    """One try: the batch is refused, the partition is taken over anew."""
    barrier = 10 * number
    term = barrier - 10
    stage.play(LOST.format(number=number, seconds=seconds, term=term, next=number + 1, barrier=barrier))


def test_a_command_that_outlives_the_membership_at_each_try_is_dead_lettered_and_the_rest_goes_on(
    opened: Opened,
) -> None:
    stage = opened("account/0")
    lose(stage, 1)
    lose(stage, 2)
    lose(stage, 3, seconds=777)
    stage.play("""
        commands account/0 0:deposit5 1:deposit6 2:deposit7 by m4
        -> commit account/0 0..3 @1#30 @2#30 dead:handler-failed by m4
        committed account/0=32
        -> answer failed@0 ok@1 ok@2
    """)


def test_the_dead_letter_says_how_long_it_took_and_what_the_limit_is(opened: Opened) -> None:
    stage = opened("account/0")
    for number, seconds in enumerate((301, 301, 777), start=1):
        lose(stage, number, seconds)
    (said,) = stage.engine.surroundings.isolated.values()
    assert "longer than max_poll_interval (300 s) at each of 3 tries (777 s at the last)" in said


def test_a_command_that_is_slow_once_or_within_the_limit_is_nothing_special(opened: Opened) -> None:
    stage = opened("account/0")
    lose(stage, 1)
    stage.play("""
        commands account/0 0:deposit5 taking 300 by m2
        -> commit account/0 0..1 @1#10 by m2
        committed account/0=11
        -> answer ok@1
    """)
    assert stage.engine.surroundings.isolated == {}


def test_a_batch_ends_with_the_command_that_took_so_long(opened: Opened) -> None:
    opened("account/0", "account/1").play("""
        commands account/1 0:deposit5 account/0 0:deposit6 taking 301 by m1
        -> open account/0 at 0
        -> record overlong account/1 0 #1
        -> commit account/1 0..1 @1#0 by m1
    """)


def test_tries_of_earlier_lives_count() -> None:
    stage = Stage(overlong_before={("account", 0, 0): 3})
    assert list(stage.engine.surroundings.isolated) == [("account", 0, 0)]
