"""Every statement of the store, in SQLAlchemy Core: `python -m eventsrc.adapters.postgres.statements` compiles them.

Importing SQLAlchemy takes a worker a good part of its recovery time objective, so the text is compiled when a statement
is changed, not when a worker starts: into compiled.py, which the store reads. A test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Integer,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from eventsrc.adapters.postgres.tables import SCHEMA, checkpoint, head, segment

_KEY = ("pipeline", "aggregate", "partition")


def _of_partition(table: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == bindparam(name) for name in _KEY))


def _ids(name: str) -> ColumnElement[Any]:
    return cast(bindparam(name, type_=ARRAY(Uuid)), ARRAY(Uuid))


def _claim() -> ClauseElement:
    """An equal term is claimed again without effect; on another topic, a term means nothing."""
    mine = upsert(head).values({name: bindparam(name) for name in (*_KEY, "events_topic_id", "term")})
    return mine.on_conflict_do_update(
        index_elements=[head.c[name] for name in _KEY],
        set_={"events_topic_id": mine.excluded.events_topic_id, "term": mine.excluded.term},
        where=or_(
            head.c.term.is_(None),
            head.c.term <= mine.excluded.term,
            head.c.events_topic_id != mine.excluded.events_topic_id,
        ),
    ).returning(head.c.term, head.c.checkpoint_id, head.c.requested_at)


def _request() -> ClauseElement:
    asked = upsert(head).values({**{name: bindparam(name) for name in _KEY}, "requested_at": func.now()})
    return asked.on_conflict_do_update(
        index_elements=[head.c[name] for name in _KEY], set_={"requested_at": func.now()}
    ).returning(head.c.requested_at)


def _heads() -> ClauseElement:
    asked = (
        func.unnest(
            cast(bindparam("aggregates", type_=ARRAY(Text)), ARRAY(Text)),
            cast(bindparam("partitions", type_=ARRAY(Integer)), ARRAY(Integer)),
        )
        .table_valued("aggregate", "partition", name="asked")
        .render_derived()
    )
    here = and_(head.c.aggregate == asked.c.aggregate, head.c.partition == asked.c.partition)
    return (
        select(head.c.aggregate, head.c.partition, head.c.term, head.c.checkpoint_id, head.c.requested_at)
        .select_from(head.join(asked, here))
        .where(head.c.pipeline == bindparam("pipeline"))
    )


def _lock() -> ClauseElement:
    return (
        select(head.c.events_topic_id, head.c.term, head.c.checkpoint_id, func.now())
        .where(_of_partition(head))
        .with_for_update()
    )


def _move() -> ClauseElement:
    """Whoever locked the head has compared all this; the statement holds by itself all the same."""
    return (
        update(head)
        .where(
            _of_partition(head),
            head.c.term == bindparam("of_term"),
            head.c.events_topic_id == bindparam("of_topic"),
            head.c.checkpoint_id.is_not_distinct_from(bindparam("base", type_=Uuid)),
        )
        .values(checkpoint_id=bindparam("moved_to", type_=Uuid))
    )


def _collect_checkpoints() -> ClauseElement:
    return delete(checkpoint).where(_of_partition(checkpoint), checkpoint.c.id != func.all(_ids("keep")))


def _collect_segments() -> ClauseElement:
    """What a later term writes is not named by a checkpoint yet. After a day it never will be: of another topic's terms."""
    named = select(func.unnest(checkpoint.c.segment_ids).label("id")).where(_of_partition(checkpoint)).subquery("named")
    is_named = select(named.c.id).where(named.c.id == segment.c.id).exists()
    old = segment.c.written_at < func.now() - text("interval '1 day'")
    return delete(segment).where(_of_partition(segment), or_(segment.c.term <= bindparam("of_term"), old), ~is_named)


def _listed() -> ClauseElement:
    newest_first = checkpoint.c.position.desc(), checkpoint.c.taken_at.desc(), checkpoint.c.id
    # a damaged time may be none that Python can hold
    is_time = checkpoint.c.taken_at.between(text("'0001-01-03'"), text("'9999-12-29'"))
    said = checkpoint.c.id, checkpoint.c.position, case((is_time, checkpoint.c.taken_at)).label("taken_at")
    return select(*said).where(_of_partition(checkpoint)).order_by(*newest_first)


def _checkpoints() -> ClauseElement:
    columns = [cast(each, Text) if each is checkpoint.c.manifest else each for each in checkpoint.c]
    return select(*columns).where(checkpoint.c.id == func.any(_ids("ids")))


STATEMENTS: dict[str, ClauseElement] = {
    "CLAIM": _claim(),
    "REQUEST": _request(),
    "HEADS": _heads(),
    "LOCK_HEAD": _lock(),
    "INSERT_CHECKPOINT": insert(checkpoint),
    "MOVE_HEAD": _move(),
    "COLLECT_CHECKPOINTS": _collect_checkpoints(),
    "COLLECT_SEGMENTS": _collect_segments(),
    "DISCARD_CHECKPOINTS": delete(checkpoint).where(_of_partition(checkpoint)),
    "DISCARD_SEGMENTS": delete(segment).where(_of_partition(segment)),
    "DISCARD_HEAD": delete(head).where(_of_partition(head)),
    "LISTED": _listed(),
    "CHECKPOINTS": _checkpoints(),
    "BLOCKS": select(segment.c.id, segment.c.block).where(segment.c.id == func.any(_ids("ids"))),
    "REVISION": select(literal_column("version_num")).select_from(text(f"{SCHEMA}.alembic_version")),
}


def compiled() -> str:
    """The content of compiled.py."""
    # SQLAlchemy's dialects are not typed
    dialect = PGDialect_psycopg(paramstyle="pyformat")  # type: ignore[no-untyped-call]
    lines = [
        '"""The statements of statements.py as text. Generated by it; do not edit. Its docstring says why."""',
        "# ruff: noqa: E501 - as the compiler breaks the lines",
        "",
        "from __future__ import annotations",
        "",
        "from typing import LiteralString",
    ]
    for name, statement in STATEMENTS.items():
        sql = "\n".join(line.rstrip() for line in str(statement.compile(dialect=dialect)).strip().splitlines())
        lines += ["", f'{name}: LiteralString = """', f'{sql}"""']
    lines += ["", "CHECKPOINT_COLUMNS = (", *(f'    "{column.name}",' for column in checkpoint.c), ")", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    (Path(__file__).parent / "compiled.py").write_text(compiled())
