"""The digest's layout, byte for byte, and that it depends on the set of states alone."""

from __future__ import annotations

import hashlib
import random

from eventsrc.engine.digest import StatesDigest

STATES = [
    ("account", b"alice", 3, b"\x02\x04"),
    ("account", "Zoë".encode(), 1, b""),
    ("order", b"alice", 3, b"\x02\x04"),
]


def digest_of(states: list[tuple[str, bytes, int, bytes]]) -> str:
    digest = StatesDigest()
    for state in states:
        digest.add(*state)
    return digest.hexadecimal()


def test_its_bytes() -> None:
    hashed = hashlib.sha256(b"\0\0\0\7account\0\0\0\5alice\0\0\0\0\0\0\0\3\0\0\0\2\2\4").hexdigest()
    assert digest_of(STATES[:1]) == hashed[32:]
    assert digest_of([]) == "0" * 32


def test_order_does_not_matter_and_sums_wrap() -> None:
    many = STATES * 50
    shuffled = random.Random(1).sample(many, len(many))
    assert digest_of(many) == digest_of(shuffled)
    assert len(digest_of(many)) == 32


def test_every_part_matters() -> None:
    others = [
        ("accounts", b"alice", 3, b"\x02\x04"),
        ("account", b"alic", 3, b"e\x02\x04"),
        ("account", b"alice", 4, b"\x02\x04"),
    ]
    assert len({digest_of([each]) for each in [*STATES, *others]}) == 6
