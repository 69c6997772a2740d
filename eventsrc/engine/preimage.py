"""An aggregate's state before a command, cheap to take and to put back.

A handler that fails may have touched the state; a transaction that aborts takes its events back. In both cases the
aggregate returns to its pre-image, without reading the log: an undo log of the keys touched, nothing else.
Where every field is an immutable scalar the pre-image is the tuple of values (0.1 us); otherwise it is the
encoded state, because containers change in place; a dict comes back in the order it had, which an `apply` may see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventsrc.codec.catalog import Catalog, flat
from eventsrc.model.aggregate import AggregateType

PreImage = tuple[Any, ...]
Capture = Callable[[Any], PreImage]
Restore = Callable[[Any, PreImage], None]

_HIDDEN = ("_eventsrc_sequence", "_eventsrc_memory")


def pre_image_of(aggregate: AggregateType, catalog: Catalog) -> tuple[Capture, Restore]:
    """`capture(instance)` and `restore(instance, pre_image)` for one aggregate class."""
    if flat(aggregate.record):
        return _values([field.name for field in aggregate.record.fields])
    return _encoded(catalog.snapshot_writer(aggregate), catalog.state_reader(aggregate))


def _values(fields: list[str]) -> tuple[Capture, Restore]:
    names = (*fields, *_HIDDEN)
    scope: dict[str, Any] = {}
    # of field names, which are checked identifiers; half of what `attrgetter` takes
    values = f"({', '.join(f'instance.{name}' for name in names)})"
    exec(f"def capture(instance): return {values}", scope)
    exec(f"def restore(instance, pre_image): {values} = pre_image", scope)
    return scope["capture"], scope["restore"]


def _encoded(write: Callable[[Any], bytes], read: Callable[[bytes, Any], Any]) -> tuple[Capture, Restore]:
    def capture(instance: Any) -> PreImage:
        return write(instance), instance._eventsrc_sequence, instance._eventsrc_memory

    def restore(instance: Any, pre_image: PreImage) -> None:
        state, instance._eventsrc_sequence, instance._eventsrc_memory = pre_image
        read(state, instance)

    return capture, restore
