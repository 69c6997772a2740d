"""What the sources in the tests of mistakes import with one line, so that their own first line is line 2."""

import dataclasses
import enum
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field

from eventsrc import Aggregate, Context, Pipeline, Recorded, apply, compensate, handle

__all__ = [
    "KW_ONLY",
    "UTC",
    "UUID",
    "Aggregate",
    "Annotated",
    "Any",
    "BaseModel",
    "ClassVar",
    "Closed",
    "Context",
    "Decimal",
    "Field",
    "InitVar",
    "Iterable",
    "Iterator",
    "Literal",
    "NamedTuple",
    "Open",
    "Opened",
    "Pipeline",
    "Recorded",
    "Sequence",
    "apply",
    "compensate",
    "dataclass",
    "dataclasses",
    "date",
    "datetime",
    "enum",
    "field",
    "handle",
    "pipeline",
    "time",
    "timedelta",
    "typing",
]

pipeline = Pipeline("bank")


@pipeline.command
class Open:
    owner: str


@pipeline.event
class Opened:
    owner: str


@pipeline.event
class Closed:
    at: datetime
