"""An aggregate's state before a command, cheap to take and to put back.

A handler that fails may have touched the state; a transaction that aborts takes its events back. In both cases the
aggregate returns to its pre-image, without reading the log: an undo log of the keys touched, nothing else.
Where every field is an immutable scalar the pre-image is the tuple of values (0.1 us); otherwise it is the
encoded state, because containers change in place; a dict comes back in the order it had, which an `apply` may see.

What tells after a command that the new state can be kept is its encoding; that is kept beside the live aggregate, with the
sequence that it is of. The next command's pre-image is this, and a checkpoint takes it as it is. So what a handler changes,
and no event tells of, is in neither: where the aggregate returns to its pre-image, or cools, it is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from eventsrc.codec.blocks import entry
from eventsrc.codec.catalog import Catalog, flat
from eventsrc.model.aggregate import AggregateType

PreImage = tuple[Any, ...]
"""Last its sequence, and its memory of commands."""

_HIDDEN = ("_eventsrc_sequence", "_eventsrc_memory")


class PreImages(NamedTuple):
    """Of one aggregate class. `capture(instance)`; `capture_anew`: the same of what the state is now, also where a handler has
    changed it, which is no event's doing; `restore(instance, pre_image)`. `check(instance)`, after events were applied: raises
    UnkeepableState where the state cannot be written."""

    capture: Callable[[Any], PreImage]
    capture_anew: Callable[[Any], PreImage]
    restore: Callable[[Any, PreImage], None]
    check: Callable[[Any], object]


def pre_images_of(aggregate: AggregateType, catalog: Catalog) -> PreImages:
    check = catalog.state_check(aggregate)
    if flat(aggregate.record):
        return _values([field.name for field in aggregate.record.fields], check)
    return _encoded(catalog.snapshot_writer(aggregate), catalog.state_reader(aggregate), check)


def entry_writer_of(aggregate: AggregateType, catalog: Catalog) -> Callable[[Any], bytes]:
    """`write(instance) -> bytes`: the entry of a block, with the encoding that is kept, if there is one."""
    if flat(aggregate.record):
        return catalog.entry_writer(aggregate)
    write = catalog.snapshot_writer(aggregate)

    def write_entry(instance: Any) -> bytes:
        # not kept where it was not: a checkpoint of all would leave a second copy of every state behind
        return entry(instance._eventsrc_sequence, instance._eventsrc_memory, _kept(instance) or write(instance))

    return write_entry


def _values(fields: list[str], check: Callable[[Any], object]) -> PreImages:
    names = (*fields, *_HIDDEN)
    scope: dict[str, Any] = {}
    # of field names, which are checked identifiers; half of what `attrgetter` takes
    values = f"({', '.join(f'instance.{name}' for name in names)})"
    exec(f"def capture(instance): return {values}", scope)
    exec(f"def restore(instance, pre_image): {values} = pre_image", scope)
    return PreImages(scope["capture"], scope["capture"], scope["restore"], check)


def _encoded(
    write: Callable[[Any], bytes], read: Callable[[bytes, Any], Any], check: Callable[[Any], bytes | None]
) -> PreImages:
    def capture(instance: Any) -> PreImage:
        sequence, state = instance._eventsrc_sequence, _kept(instance)
        if state is None:
            state = write(instance)
            instance._eventsrc_encoded = sequence, state
        return state, sequence, instance._eventsrc_memory

    def capture_anew(instance: Any) -> PreImage:
        return write(instance), instance._eventsrc_sequence, instance._eventsrc_memory

    def restore(instance: Any, pre_image: PreImage) -> None:
        state, sequence, instance._eventsrc_memory = pre_image
        read(state, instance)
        instance._eventsrc_sequence, instance._eventsrc_encoded = sequence, (sequence, state)

    def check_and_keep(instance: Any) -> None:
        instance._eventsrc_encoded = instance._eventsrc_sequence, check(instance)

    return PreImages(capture, capture_anew, restore, check_and_keep)


def _kept(instance: Any) -> bytes | None:
    """The encoding of its state, as events have made it: each raises its sequence."""
    kept: tuple[int, bytes] | None = instance._eventsrc_encoded
    return kept[1] if kept is not None and kept[0] == instance._eventsrc_sequence else None
