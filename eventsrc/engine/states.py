"""Every aggregate of one partition: live objects, and encoded ones that nobody has asked for.

A state stays encoded until a command or an event first touches it, and is encoded again when too many are live. Owns
where a state is; what it means is the fold's and the decider's. On the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

from eventsrc.codec.blocks import StoredRuns, split_entry
from eventsrc.codec.catalog import Catalog
from eventsrc.errors import DecodingError, EncodingError, SnapshotDamaged
from eventsrc.model.aggregate import AggregateType


class States:
    """`live` is shared with the hot loop, which puts new aggregates into it and takes them out again by itself."""

    def __init__(self, aggregate: AggregateType, catalog: Catalog, stored: StoredRuns | None = None) -> None:
        self.live: dict[bytes, Any] = {}
        self._stored = stored
        self._cooled: dict[bytes, bytes] = {}
        self._new: Callable[[bytes], Any] = aggregate.new
        self._write_entry = catalog.entry_writer(aggregate)
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
        instance = self.live.get(key)
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

    def entries_by_steps(self, keys: Collection[bytes] | None) -> Iterator[tuple[bytes, bytes] | None]:
        """Key and entry of each of `keys`; of every aggregate where that is None, with None in between for each stored one
        that is passed over, as it came before: so that the next step is never far, however many of those follow each other.

        Aggregates may move and change meanwhile: each entry is of a state that was current at the first step or later. Raises
        EncodingError, which names the id.
        """
        key = b""
        try:
            if keys is not None:
                for key in keys:
                    yield key, self.encoded(key)
                return
            # The objects themselves, not to look each up again: one that has cooled since is as it was then.
            live, cooled, write = list(self.live.items()), list(self._cooled.items()), self._write_entry
            seen = self.touched() if self._stored is not None else ()
            for key, instance in live:
                yield key, write(instance)
            yield from cooled
            for stored in self._stored or ():
                yield None if stored[0] in seen else stored
        except EncodingError as wrong:
            raise EncodingError(f'"{key.decode(errors="backslashreplace")}": {wrong}') from wrong

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
