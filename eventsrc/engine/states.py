"""Every aggregate of one partition: live objects, and encoded ones that nobody has asked for.

A state stays encoded until a command or an event first touches it, and is encoded again when too many are live. Owns
where a state is; what it means is the fold's and the decider's. On the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from typing import Any

from eventsrc.codec.blocks import StoredRuns, split_entry
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.preimage import entry_writer_of
from eventsrc.errors import DecodingError, EncodingError, SnapshotDamaged
from eventsrc.model.aggregate import AggregateType

_TOGETHER = 64
"""Looked up before the first of them is encoded. One by one takes a fifth longer: nothing of them is in the processor's caches,
and where one step is done for many of them it waits for several at once."""


class EntrySlices:
    """Key and entry of many aggregates, each once, a slice at a time. They may move and change meanwhile: each entry is of a
    state that was current when this was made, or later. `done`: there are no more.

    `live`: with their instance, None where it is not live. `find`: what to look a key up with again, if its slice was full
    before it was encoded; None where the instance, once found, is the one to encode. `at_rest`: with their entry, and None for
    each stored one that is passed over, so that the next is never far, however many of those follow each other."""

    def __init__(
        self,
        states: States,
        live: Iterator[tuple[bytes, Any | None]],
        find: Callable[[bytes], Any | None] | None,
        at_rest: Iterator[tuple[bytes, bytes] | None],
    ) -> None:
        self.done = False
        self._states, self._live, self._find, self._at_rest = states, live, find, at_rest
        self._left: list[tuple[bytes, Any | None]] = []

    def take(self, states: int, size_bytes: int) -> list[tuple[bytes, bytes]]:
        """The next slice: it ends once about so many were looked at, or with the one that makes it so many bytes. Raises
        EncodingError, which names the id, and SnapshotDamaged."""
        taken: list[tuple[bytes, bytes]] = []
        while not self.done and states > 0 and size_bytes > 0:
            live = self._next_live(min(_TOGETHER, states))
            looked_at, entries = self._encode(live, size_bytes) if live else self._pass(states, size_bytes)
            taken += entries
            states -= looked_at
            size_bytes -= sum(len(encoded) for _, encoded in entries)
        return taken

    def _next_live(self, most: int) -> list[tuple[bytes, Any | None]]:
        left, self._left = self._left, []
        if not left:
            return list(islice(self._live, most))
        find = self._find
        return left if find is None else [(key, find(key)) for key, _ in left]

    def _encode(self, live: list[tuple[bytes, Any | None]], room: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        entries: list[tuple[bytes, bytes]] = []
        for key, instance in live:
            try:
                encoded = self._states.entry_of(key, instance)
            except EncodingError as wrong:
                raise EncodingError(f'"{key.decode(errors="backslashreplace")}": {wrong}') from wrong
            entries.append((key, encoded))
            room -= len(encoded)
            if room <= 0:
                break
        self._left = live[len(entries) :]
        return len(entries), entries

    def _pass(self, most: int, room: int) -> tuple[int, list[tuple[bytes, bytes]]]:
        entries: list[tuple[bytes, bytes]] = []
        looked_at = 0
        for looked_at, each in enumerate(islice(self._at_rest, most), 1):
            if each is not None:
                entries.append(each)
                room -= len(each[1])
                if room <= 0:
                    return looked_at, entries
        self.done = looked_at < most
        return looked_at, entries


class States:
    """`live` is shared with the hot loop, which puts new aggregates into it and takes them out again by itself."""

    def __init__(self, aggregate: AggregateType, catalog: Catalog, stored: StoredRuns | None = None) -> None:
        self.live: dict[bytes, Any] = {}
        self._stored = stored
        self._cooled: dict[bytes, bytes] = {}
        self._new: Callable[[bytes], Any] = aggregate.new
        self._write_entry = entry_writer_of(aggregate, catalog)
        self._read = catalog.state_reader(aggregate)

    def hydrate(self, key: bytes) -> Any | None:
        """The aggregate of this id, live from now on; None if it does not exist. It must not be live yet. Raises
        SnapshotDamaged where its stored state cannot be read: then nothing is known of it, and it is not a new one."""
        encoded = self._cooled.pop(key, None)
        if encoded is None:
            if self._stored is None:
                return None
            encoded = self._stored.get(key)
            if encoded is None:
                return None
        instance = self._new(key)
        try:
            instance._eventsrc_sequence, instance._eventsrc_memory, state = split_entry(encoded)
            self._read(state, instance)
        except DecodingError as unreadable:
            raise SnapshotDamaged(f"the stored state of {key!r} cannot be read: {unreadable}") from unreadable
        self.live[key] = instance
        return instance

    def encoded(self, key: bytes) -> bytes:
        """Its state as of now, as an entry of a block. It must exist. Raises EncodingError where a field holds what its type
        does not."""
        return self.entry_of(key, self.live.get(key))

    def entry_of(self, key: bytes, instance: Any | None) -> bytes:
        """As `encoded`, where it is known what is live under this key: None where nothing is."""
        return self._at_rest(key) if instance is None else self._write_entry(instance)

    def _at_rest(self, key: bytes) -> bytes:
        found = self._cooled.get(key) or (self._stored.get(key) if self._stored is not None else None)
        if found is None:
            raise AssertionError(f"there is no aggregate {key!r}")
        return found

    def keys(self) -> Iterator[bytes]:
        """Every id that exists now, once. Aggregates may become live, cool down or appear meanwhile: what has appeared may be
        missing."""
        seen = self.touched()
        yield from list(seen)
        yield from (key for key, _ in self._stored or () if key not in seen)

    def slices(self, keys: Collection[bytes] | None) -> EntrySlices:
        """Of each of `keys`, all of which exist, and must stay the same; of every aggregate where that is None."""
        if keys is not None:
            find = self.live.get
            return EntrySlices(self, zip(keys, map(find, keys), strict=True), find, iter(()))
        # The objects themselves, not to look each up again: one that has cooled since is as it was then.
        seen = self.touched() if self._stored is not None else ()
        stored = (None if each[0] in seen else each for each in self._stored or ())
        return EntrySlices(self, iter(list(self.live.items())), None, chain(list(self._cooled.items()), stored))

    def is_cooled(self, key: bytes) -> bool:
        """It was live here, and was encoded again."""
        return key in self._cooled

    def touched(self) -> set[bytes]:
        """Every id that was live at some time: the others are as they were stored."""
        return {*self.live, *self._cooled}

    def cool(self, count: int, pinned: Collection[bytes]) -> int:
        """Encode up to `count` of those that have been live longest; returns how many. `pinned` hold changes that are not
        committed, and stay; so do those whose state cannot be encoded."""
        cooled = 0
        for key in list(islice(self.live, count)):
            if key in pinned:
                continue
            try:
                self._cooled[key] = self.encoded(key)
            except EncodingError:
                self.live[key] = self.live.pop(key)  # behind the others, or they would never be reached
                continue
            del self.live[key]
            cooled += 1
        return cooled
