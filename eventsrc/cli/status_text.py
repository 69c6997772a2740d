"""How a pipeline's status is shown: for a person one screen, for a program the same facts as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from eventsrc.cli.render import columns, printable, rfc3339
from eventsrc.codes import see
from eventsrc.runtime.group_status import GroupStatus, NewestCheckpoint, OwnerStatus, PartitionStatus

_HEADINGS: tuple[str, ...] = (
    "partition", "owner", "phase", "position", "lag", "last checkpoint", "recovery now / objective",
)  # fmt: skip
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def duration_text(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`"""
    for unit, size in _UNITS:
        if seconds >= 2 * size or (seconds >= size and unit == "min"):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def size_text(size_bytes: float) -> str:
    """`812 B`, `41 kB`, `3.2 MB`"""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1e3:.0f} kB" if size_bytes >= 1e3 else f"{size_bytes:.0f} B"


def status_text(status: GroupStatus, app: str | None = None) -> str:
    """`app`: as it must be typed in the commands to run next; None where settings name it."""
    rows = [_HEADINGS]
    rows += [_row(each, status) for each in status.partitions]
    lines = [columns(_right(rows, (3, 4)), indent="  ")]
    lines += [f"  {each}" for each in _workers(status)]
    for each in status.partitions:
        lines += _told_of(each, status, app)
    lines += [f"{name}: {problem}" for name, problem in status.problems.items()]
    lines += [f"note: {note}" for note in status.notes]
    return "\n".join(printable(line) for text in lines for line in text.splitlines())


def _row(each: PartitionStatus, status: GroupStatus) -> tuple[str, ...]:
    owner = each.owner or "none"
    if each.owner_known_by is None and each.owner is not None:
        owner = f"none (last {each.owner})" if status.members is not None else f"{each.owner}?"
    phase = "HALTED" if each.halted else each.phase or ("elsewhere" if each.owner_known_by else "-")
    over = each.recovery_s is not None and each.recovery_s > status.objective_s
    predicted = "?" if each.recovery_s is None else f"{each.recovery_s:.1f} s"
    return (
        str(each.key), owner, phase, _number(each.position), _number(each.lag), _checkpoint(each, status),
        f"{predicted} / {status.objective_s:g} s" + ("   NOT MET" if over else ""),
    )  # fmt: skip


def _checkpoint(each: PartitionStatus, status: GroupStatus) -> str:
    found = each.checkpoint
    if found is not None:
        return f"{duration_text((status.at_us - found.taken_us) / 1e6)} ago, {size_text(found.size_bytes)}"
    return "?" if "postgres" in status.problems else "none"


def _workers(status: GroupStatus) -> Iterator[str]:
    for owner in status.owners:
        held = owner.recovery_s <= status.objective_s
        whose = owner.instance or "no worker"
        how = "" if owner.measured else ", by defaults"
        line = (
            f"{whose}: {owner.partitions} partition{'' if owner.partitions == 1 else 's'}, "
            f"recovery {owner.recovery_s:.1f} s / {status.objective_s:g} s{how}"
        )
        yield line if held else f"{line}   NOT MET: {why_not_met(owner, status)}"
        if owner.silent_s is not None:
            yield f"{whose}: runs, and has said nothing for {duration_text(owner.silent_s)}: stopped, or stuck in a handler"
        if owner.snapshots is not None and held:
            yield f"{whose}: {_snapshots(owner, status)}"
    if not status.owners or not any(owner.measured for owner in status.owners):
        yield "no worker runs on this host, in this state directory" + _elsewhere(status)


def _elsewhere(status: GroupStatus) -> str:
    if status.members is None:
        return ""
    return f"; in the group: {', '.join(sorted(status.members))}" if status.members else "; nobody is in the group"


def why_not_met(owner: OwnerStatus, status: GroupStatus) -> str:
    """What makes its recovery take so long."""
    if owner.snapshots is not None:
        return _snapshots(owner, status)
    own = [each for each in status.partitions if not owner.measured or each.owner == owner.instance]
    longest = max(own, key=lambda each: each.recovery_s or 0.0, default=None)
    if longest is None or longest.tail is None:
        return "its partitions have too much to read"
    if longest.checkpoint is None and "postgres" not in status.problems:
        return f"{longest.key} has no checkpoint, and {longest.tail:,} events"
    if longest.checkpoint is not None and not longest.tail:
        return f"{longest.key} has {size_text(longest.checkpoint.size_bytes)} of states to load"
    return f"{longest.key} has {longest.tail:,} events after its checkpoint"


def _snapshots(owner: OwnerStatus, status: GroupStatus) -> str:
    since = owner.snapshots_since_us
    return f"{owner.snapshots}" + ("" if since is None else f", for {duration_text((status.at_us - since) / 1e6)}")


def _told_of(each: PartitionStatus, status: GroupStatus, app: str | None) -> Iterator[str]:
    """What is more than a cell: why it is halted, what it waits for, how far its recovery is."""
    if each.halted:
        yield f"\n{each.key} is halted: {each.reason or 'no reason was told'}\n  next: {_next_step(each, app)}"
        if each.code is not None:
            yield f"  {see(each.code)}"
    elif each.recovery is not None:
        of = each.recovery
        left = "" if of.left_s is None else f", {duration_text(of.left_s)} left"
        share = of.have / of.need if of.need else 1.0
        yield f"{each.key} recovers: {of.have:,} of {of.need:,} offsets ({share:.0%}), {of.rate:,.0f}/s{left}"
    elif each.phase is not None and each.phase != "open":
        yield f"{each.key} is {each.phase}: {each.reason or 'no reason was told'}"


def _next_step(each: PartitionStatus, app: str | None) -> str:
    named = f" {app}" if app else ""
    if each.reason is not None and "checkpoint discard" in each.reason:
        return f"eventsrc checkpoint discard{named} --aggregate {each.key.aggregate} --partition {each.key.number}"
    if each.reason is not None and "schema" in each.reason:
        return f"bring the schema file, then restart {each.owner}"
    return f"eventsrc fsck{named} --partition {each.key}; mend it as it says, then restart {each.owner}"


def status_json(status: GroupStatus) -> dict[str, Any]:
    return {
        "pipeline": status.pipeline,
        "group": status.group_id,
        "at": _moment(status.at_us),
        "objective_s": status.objective_s,
        "objective_held": status.objective_held,
        "halted": status.halted,
        "members": None if status.members is None else sorted(status.members),
        "partitions": [_partition_json(each, status) for each in status.partitions],
        "workers": [_owner_json(each, status) for each in status.owners],
        "problems": dict(status.problems),
        "notes": list(status.notes),
    }


def _partition_json(each: PartitionStatus, status: GroupStatus) -> dict[str, Any]:
    said = each._asdict()
    del said["key"]
    return {"aggregate": each.key.aggregate, "partition": each.key.number} | said | {
        "checkpoint": each.checkpoint and checkpoint_json(each.checkpoint, status.at_us),
        "recovery": each.recovery and each.recovery._asdict(),
        "recovery_s": None if each.recovery_s is None else round(each.recovery_s, 3),
    }  # fmt: skip


def checkpoint_json(found: NewestCheckpoint, at_us: int) -> dict[str, Any]:
    said = found._asdict()
    taken_us = said.pop("taken_us")
    return said | {"taken_at": _moment(taken_us), "age_s": round((at_us - taken_us) / 1e6, 3)}


def _owner_json(owner: OwnerStatus, status: GroupStatus) -> dict[str, Any]:
    said = owner._asdict()
    since_us = said.pop("snapshots_since_us")
    held = owner.recovery_s <= status.objective_s
    return said | {
        "recovery_s": round(owner.recovery_s, 3),
        "snapshots_failing_since": None if since_us is None else _moment(since_us),
        "objective_held": held,
        "not_met_because": None if held else why_not_met(owner, status),
    }


def _moment(us: int) -> str:
    return rfc3339(datetime.fromtimestamp(us / 1e6, UTC))


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _right(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> list[list[str]]:
    """Cells of those columns aligned to the right."""
    widths = {number: max(len(row[number]) for row in rows) for number in right}
    return [[cell.rjust(widths.get(number, 0)) for number, cell in enumerate(row)] for row in rows]
