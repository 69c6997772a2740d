"""What `eventsrc replay --compare` prints: what was held against the log, and the first difference."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from eventsrc.cli.render import dump, printable, to_json, value_text

if TYPE_CHECKING:
    from eventsrc.runtime.comparing import Comparison, Difference


def comparison_object(compared: Comparison) -> dict[str, Any]:
    """`difference`: that of a sound checkpoint, or else of the first that is damaged; null where there is neither."""
    found = compared.first
    return {
        "checkpoints": compared.checkpoints,
        "states": compared.states,
        "damaged": [
            {
                "aggregate": each.aggregate,
                "partition": each.partition,
                "checkpoint": str(each.checkpoint),
                "reason": each.stored,
            }
            for each in compared.damaged
        ],
        "skipped": compared.skipped,
        "difference": None
        if found is None
        else {
            "aggregate": found.aggregate,
            "partition": found.partition,
            "id": None if found.id is None else found.id.decode(errors="backslashreplace"),
            "sequence": found.sequence,
            "field": found.field,
            "stored": to_json(found.stored),
            "folded": to_json(found.folded),
            "checkpoint": str(found.checkpoint),
        },
    }


def comparison_text(compared: Comparison) -> str:
    lines = [f"  skipped: {printable(line)}" for line in compared.skipped]
    lines += _damage_lines(compared.damaged)
    what = f"{compared.states:,} states in {compared.checkpoints:,} checkpoints"
    if compared.difference is None:
        return "\n".join([*lines, f"  {what} are what the log folds to"])
    return "\n".join([*lines, *_difference_lines(compared.difference), f"  compared before it: {what}"])


def _damage_lines(damaged: list[Difference]) -> list[str]:
    if not damaged:
        return []
    lines = [
        f"  damaged, and never used: checkpoint {each.checkpoint} of {_place(each)}: {each.stored}" for each in damaged
    ]
    return [
        *map(printable, lines),
        "  next: eventsrc checkpoint verify shows what is used instead, checkpoint now takes new ones",
    ]


def _place(found: Difference) -> str:
    return f"{found.aggregate}/{found.partition}"


def _difference_lines(found: Difference) -> list[str]:
    place = _place(found)
    where = place if found.id is None else f"{found.aggregate} {found.id.decode(errors='backslashreplace')}"
    at = "" if found.sequence is None else f" sequence {found.sequence}"
    return [
        printable(f"  {where}{at}: checkpoint {found.checkpoint} of {place} is not what the log folds to"),
        f"  {found.field or 'what is stored'}   stored {_shown(found.stored)}   folded {_shown(found.folded)}",
        "  next: where an @apply method was changed, give the aggregate a new version; else discard this partition's "
        "checkpoints: eventsrc checkpoint discard",
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return "nothing" if value is None else value_text(value) if not isinstance(value, str) else dump(value)
