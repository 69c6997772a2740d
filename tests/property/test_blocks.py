"""Blocks of any content come back; blocks of any bytes are refused or read, in little memory, and never crash."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import given

from eventsrc.codec import blocks
from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, key_hash, split_entry
from eventsrc.errors import SnapshotDamaged

keys = st.binary(min_size=1, max_size=255)
entries = st.dictionaries(keys, st.binary(min_size=12, max_size=60), max_size=40)
limits = st.fixed_dictionaries({"states_per_block": st.integers(1, 9), "max_block_bytes": st.integers(1, 400)})


@contextmanager
def hashes(count: int | None) -> Iterator[None]:
    """Only so many different hashes (None: the real ones), so that keys share them."""
    if count is None:
        yield
        return
    with patch.object(blocks, "key_hash", lambda key: sum(key) % count << 61):
        yield


@given(st.lists(entries, max_size=5), limits, limits, st.sampled_from([None, 1, 3, 8]))
def test_runs_hold_the_newest_state_of_every_key(
    contents: list[dict[bytes, bytes]], limit: dict[str, int], merged: dict[str, int], different: int | None
) -> None:
    with hashes(different):
        runs = StoredRuns([[Block(one) for one in build_blocks(content.items(), **limit)] for content in contents])
        expected = {key: encoded for content in contents for key, encoded in content.items()}
        asked = [*expected, *(key + b"!" for key in expected)]
        assert {key: runs.get(key) for key in asked} == {key: expected.get(key) for key in asked}
        assert sorted(runs) == sorted(expected.items())
        again = StoredRuns([[Block(one) for one in runs.merged(**merged)]])
        assert sorted(again) == sorted(expected.items())
        assert {key: again.get(key) for key in asked} == {key: expected.get(key) for key in asked}


@given(entries, st.randoms(use_true_random=False))
def test_blocks_do_not_depend_on_the_order_of_what_they_were_made_from(
    content: dict[bytes, bytes], random: object
) -> None:
    shuffled = list(content.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' own Random
    assert list(build_blocks(shuffled, 5)) == list(build_blocks(content.items(), 5))


@given(entries.filter(bool), st.data())
def test_one_damaged_byte_never_has_the_crc_that_was_written(content: dict[bytes, bytes], data: st.DataObject) -> None:
    (encoded,) = build_blocks(content.items())
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[at] ^= data.draw(st.integers(1, 255))
    assert zlib.crc32(changed) != Block(encoded).crc
    read_all(bytes(changed), list(content))


@given(entries.filter(bool), st.data())
def test_bytes_cut_lengthened_or_overwritten_are_read_or_refused(
    content: dict[bytes, bytes], data: st.DataObject
) -> None:
    (encoded,) = build_blocks(content.items())
    start = data.draw(st.integers(0, len(encoded)))
    end = data.draw(st.integers(start, len(encoded)))
    read_all(encoded[:start] + data.draw(st.binary(max_size=20)) + encoded[end:], list(content))


@given(st.binary(max_size=60), st.integers(0, 2**32 - 1))
def test_bytes_that_nobody_wrote_are_read_or_refused(rest: bytes, count: int) -> None:
    read_all(rest, [b"alice"])
    tracemalloc.start()
    read_all(b"ESB2" + count.to_bytes(4, "little") + rest, [b"alice"])
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def read_all(encoded: bytes, asked: list[bytes]) -> None:
    """Everything that can be done with a block: a result, or SnapshotDamaged."""
    try:
        runs = StoredRuns([[Block(encoded)]])
    except SnapshotDamaged:
        return
    for key in asked:
        try:
            found = runs.get(key)
            if found is not None:
                split_entry(found)
        except SnapshotDamaged:
            pass
    for read in (lambda: list(runs), lambda: list(runs.merged(3)), lambda: list(StoredRuns([[Block(encoded)]] * 2))):
        try:
            read()
        except SnapshotDamaged:
            pass


@given(keys)
def test_the_hash_is_64_bits(key: bytes) -> None:
    assert 0 <= key_hash(key) < 1 << 64
