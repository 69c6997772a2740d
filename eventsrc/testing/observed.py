"""An aggregate class under observation: what the hot loop works with, whose handlers are looked at in every call.

A worker samples one call in a thousand; here a handler that changes the state is found at once, also where it rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from eventsrc.engine.compiled import CompiledAggregate, CompiledCommand, CompiledEvent
from eventsrc.errors import EncodingError


class ImpureHandler(AssertionError):  # noqa: N818 - what was found
    """A handler changed the aggregate's state. It decides and returns events; only an `@apply` method changes state."""


class ObservedAggregate(CompiledAggregate):
    def _command(self, cls: type, prefix: bytes, read: Any) -> CompiledCommand:
        read, handle, wants_context, validate, seed = super()._command(cls, prefix, read)
        return read, self.watched(handle), wants_context, validate, seed

    def _event(self, cls: type) -> CompiledEvent:
        write, apply, wants_recorded, reread = super()._event(cls)
        return write, _named(apply, cls), wants_recorded, reread

    def watched(self, decide: Callable[..., Any]) -> Callable[..., Any]:
        """As `decide`, an iterator exhausted. Raises ImpureHandler."""

        def observed(instance: Any, asked: Any, *more: Any) -> Any:
            before = self.capture_anew(instance)
            try:
                decided = decide(instance, asked, *more)
                if isinstance(decided, Iterator):
                    decided = tuple(decided)
            except BaseException as failure:
                if self._changed(instance, before):
                    raise self._impure(instance, decide, asked) from failure
                raise
            if self._changed(instance, before):
                raise self._impure(instance, decide, asked)
            return decided

        return observed

    def _changed(self, instance: Any, before: Any) -> bool:
        try:
            return bool(self.capture_anew(instance) != before)
        except EncodingError:  # by something that is no state at all
            return True

    def _impure(self, instance: Any, decide: Callable[..., Any], asked: Any) -> ImpureHandler:
        name, of = type(instance).__name__, getattr(decide, "__name__", "the method")
        return ImpureHandler(
            f"{name}.{of} changed the state of the {name} when it was given {asked!r}: a handler decides and returns events, "
            "only an @apply method changes state"
        )


def _named(apply: Callable[..., None], cls: type) -> Callable[..., None]:
    def observed(instance: Any, *event: Any) -> None:
        try:
            apply(instance, *event)
        except Exception as failure:
            failure.add_note(f"raised in the @apply method of {cls.__name__}, {getattr(apply, '__name__', '')}")
            raise

    return observed
