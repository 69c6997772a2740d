from __future__ import annotations

from eventsrc.clock import HybridClock


def given_out(clock: HybridClock, *walls: int) -> list[int]:
    """One time at each of these moments."""
    times = []
    for wall in walls:
        times.append(clock.before(wall) + 1)
        clock.merge(times[-1])
    return times


def test_follows_the_wall() -> None:
    assert given_out(HybridClock(), 100, 200, 300) == [100, 200, 300]


def test_never_repeats_and_never_goes_back() -> None:
    assert given_out(HybridClock(), 100, 100, 40, 101, 104) == [100, 101, 102, 103, 104]


def test_is_later_than_what_it_has_seen() -> None:
    clock = HybridClock()
    given_out(clock, 100)
    clock.merge(5_000)
    clock.merge(50)
    assert given_out(clock, 101, 6_000) == [5_001, 6_000]
