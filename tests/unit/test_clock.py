from __future__ import annotations

from eventsrc.clock import HybridClock


def test_follows_the_wall() -> None:
    clock = HybridClock()
    assert [clock.next(wall) for wall in (100, 200, 300)] == [100, 200, 300]


def test_never_repeats_and_never_goes_back() -> None:
    clock = HybridClock()
    assert [clock.next(wall) for wall in (100, 100, 40, 101, 104)] == [100, 101, 102, 103, 104]


def test_is_later_than_what_it_has_seen() -> None:
    clock = HybridClock()
    clock.next(100)
    clock.merge(5_000)
    clock.merge(50)
    assert [clock.next(101), clock.next(6_000)] == [5_001, 6_000]
