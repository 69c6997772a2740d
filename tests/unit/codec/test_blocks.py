"""Entries, blocks and runs: their bytes, and what is found in them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import pytest

from eventsrc.codec import blocks
from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, entry, entry_sequence, key_hash, split_entry
from eventsrc.errors import SnapshotDamaged


def run_of(entries: dict[bytes, bytes], **limits: int) -> list[Block]:
    return [Block(encoded) for encoded in build_blocks(entries.items(), **limits)]


def many(numbers: Iterable[int], state: bytes = b"state") -> dict[bytes, bytes]:
    return {b"id-%d" % number: entry(number, b"", state) for number in numbers}


def test_an_entry_comes_apart_again() -> None:
    encoded = entry(7, b"memory", b"state")
    assert encoded == b"\7" + bytes(7) + b"\6\0\0\0" + b"memorystate"
    assert split_entry(encoded) == (7, b"memory", b"state")
    assert entry_sequence(encoded) == 7
    assert split_entry(entry((1 << 63) - 1, b"", b"")) == ((1 << 63) - 1, b"", b"")


@pytest.mark.parametrize("encoded", [b"", b"\0" * 11, entry(1, b"memory", b"")[:-1]])
def test_a_cut_entry_is_damaged(encoded: bytes) -> None:
    with pytest.raises(SnapshotDamaged, match=r"an entry of \d+ bytes"):
        split_entry(encoded)


def test_the_layout_of_a_block() -> None:
    (encoded,) = build_blocks([(b"bob", b"second"), (b"alice", b"first")])
    ordered = sorted([(key_hash(b"bob"), b"\3bobsecond"), (key_hash(b"alice"), b"\5alicefirst")])
    ends = 0, len(ordered[0][1]), len(ordered[0][1]) + len(ordered[1][1])
    columns = struct.pack("<4sI2Q3I", b"ESB2", 2, ordered[0][0], ordered[1][0], *ends)
    assert encoded == columns + ordered[0][1] + ordered[1][1]
    block = Block(encoded)
    assert (block.count, block.first_hash, block.last_hash) == (2, ordered[0][0], ordered[1][0])
    assert block.crc == zlib.crc32(encoded)


def test_every_key_is_found_and_no_other() -> None:
    entries = many(range(5000))
    run = run_of(entries, states_per_block=700)
    assert [block.count for block in run] == [700] * 7 + [100]
    runs = StoredRuns([run])
    assert all(runs.get(key) == encoded for key, encoded in entries.items())
    assert runs.get(b"id-5000") is None
    assert dict(runs) == entries
    hashes = [key_hash(key) for key, _ in runs]
    assert hashes == sorted(hashes)


def test_a_block_is_as_large_as_allowed_unless_one_state_is_larger() -> None:
    entries = many(range(100), bytes(1000)) | {b"large": bytes(20_000)}
    run = run_of(entries, max_block_bytes=10_000)
    assert sorted({len(block.encoded) > 10_000 for block in run}) == [False, True]
    assert [block.count for block in run if len(block.encoded) > 10_000] == [1]
    assert dict(StoredRuns([run])) == entries


def test_nothing_makes_no_block() -> None:
    assert list(build_blocks([])) == []
    empty = StoredRuns([[], []])
    assert (empty.get(b"alice"), list(empty), list(empty.merged())) == (None, [], [])


def test_the_newest_run_has_the_state() -> None:
    oldest, newer, newest = many(range(1000), b"1"), many(range(0, 1000, 3), b"2"), many(range(0, 1500, 5), b"3")
    runs = StoredRuns([run_of(content, states_per_block=100) for content in (oldest, newer, newest)])
    expected = oldest | newer | newest
    assert all(runs.get(key) == encoded for key, encoded in expected.items())
    assert dict(runs) == expected
    assert len(list(runs)) == len(expected)
    merged = [Block(encoded) for encoded in runs.merged(states_per_block=300)]
    assert [block.count for block in merged] == [300, 300, 300, 200]
    assert dict(StoredRuns([merged])) == expected
    assert [block.encoded for block in run_of(expected, states_per_block=300)] == [block.encoded for block in merged]


def test_keys_with_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "key_hash", lambda key: 5)
    older, newer = many(range(30), b"1"), many(range(10, 20), b"2")
    runs = StoredRuns([run_of(older, states_per_block=4), run_of(newer, states_per_block=3)])
    expected = older | newer
    assert all(runs.get(key) == encoded for key, encoded in expected.items())
    assert runs.get(b"id-30") is None
    assert sorted(runs) == sorted(expected.items())
    assert sorted(StoredRuns([[Block(encoded) for encoded in runs.merged(7)]])) == sorted(expected.items())


def good() -> bytearray:
    (encoded,) = build_blocks(many(range(3)).items())
    return bytearray(encoded)


def damaged_at(position: int, value: int) -> bytes:
    encoded = good()
    struct.pack_into("<I", encoded, position, value)
    return bytes(encoded)


COUNT, FIRST_HASH, FIRST_END = 4, 8, 8 + 3 * 8


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "a block of 0 bytes"),
        (b"ESB1" + good()[4:], "begins with b'ESB1', not b'ESB2': another version of eventsrc wrote it"),
        (b"BSE2" + good()[4:], "begins with b'BSE2', not b'ESB2'$"),
        (bytes(good()[:-1]), "whose states end at"),
        (bytes(good()) + b"\0", "whose states end at"),
        (damaged_at(COUNT, 0), "cannot hold 0 states"),
        (damaged_at(COUNT, 0xFFFFFFFF), "cannot hold 4294967295 states"),
        (damaged_at(FIRST_HASH + 4, 0xFFFFFFFF), "out of order"),
        (damaged_at(FIRST_END, 1), "whose states end at"),
        (damaged_at(FIRST_END + 4, 0xFFFFFFFF), "out of order"),
    ],
)
def test_what_is_not_a_block_is_damaged(encoded: bytes, message: str) -> None:
    with pytest.raises(SnapshotDamaged, match=message):
        Block(bytes(encoded))


@pytest.mark.parametrize("length", [0, 255])
def test_a_state_whose_key_does_not_fit_is_damaged(length: int) -> None:
    (encoded,) = build_blocks([(b"alice", b"first")])
    at = encoded.index(b"\5alice")
    block = Block(encoded[:at] + bytes((length,)) + encoded[at + 1 :])
    with pytest.raises(SnapshotDamaged, match="no key or no entry"):
        block.get(b"alice")
    with pytest.raises(SnapshotDamaged, match="no key or no entry"):
        list(StoredRuns([[block]]))


def test_blocks_of_a_run_that_overlap_are_damaged() -> None:
    run = run_of(many(range(100)), states_per_block=10)
    for wrong in (run[::-1], [run[0], run[0]]):
        with pytest.raises(SnapshotDamaged, match="overlap"):
            StoredRuns([wrong])
