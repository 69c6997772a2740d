from __future__ import annotations

from uuid import UUID

import pytest

from eventsrc.codec.keys import barrier_key, event_key, is_control_key, parse_event_key, pruned_key


def test_an_id_may_hold_what_separates_the_rest() -> None:
    for aggregate_id in (b"alice", b"a@1#2", b"@#", b"#", b"a b", "é".encode(), b"x" * 255, b"line\nbreak"):
        assert parse_event_key(event_key(aggregate_id, 7, 0)) == (aggregate_id, 7, 0)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"alice",
        b"alice@1",
        b"alice#1",
        b"@1#2",
        b"alice@0#1",
        b"alice@01#1",
        b"alice@1#01",
        b"alice@-1#1",
        b"alice@+1#1",
        b"alice@1#-1",
        b"alice@1# 1",
        b"alice@1#1 ",
        b"alice@1#1\n",
        b"alice@1_0#1",
        "alice@\uff11#1".encode(),
        b"alice@1#",
        b"alice@#1",
        b"alice@9223372036854775808#1",
        b"alice@1#9223372036854775808",
        b"al\0ice@1#1",
        b"x" * 256 + b"@1#1",
    ],
)
def test_what_is_not_exactly_an_event_key_is_none(key: bytes) -> None:
    assert parse_event_key(key) is None


def test_control_keys_begin_with_nul_and_are_no_event_keys() -> None:
    unique = UUID(int=5)
    assert barrier_key(unique) == b"\0barrier@00000000-0000-0000-0000-000000000005"
    for key in (barrier_key(unique), pruned_key(unique)):
        assert is_control_key(key)
        assert parse_event_key(key) is None
    assert not is_control_key(b"alice")
