"""The shop's orders: what today's code decides, and that it reads what its two earlier versions wrote."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventsrc import InvalidCommand, Pipeline
from eventsrc.codec import fold_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.compatibility import check, missing
from eventsrc.errors import UnknownSchema
from eventsrc.testing import check_determinism, scenario
from examples.orders import app, demo
from examples.orders.app import (
    Address,
    Cancel,
    Cancelled,
    Card,
    Line,
    Order,
    Paid,
    Pay,
    Place,
    Placed,
    Refunded,
    Ship,
    Shipped,
    Shipping,
    Status,
)  # fmt: skip
from examples.orders.history import v1, v2
from examples.running import ExampleFailed

SCHEMAS = Path(__file__).parents[3] / "schemas"
VERSIONS = (v1, v2, app)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOME = Address("Prinsengracht 7", "Amsterdam")
TEA = [Line("tea", 2, Decimal("4.90"))]
PLACED = Placed("Ada", TEA, Shipping.STANDARD, NOON, HOME)
PAID = Paid(Decimal("9.80"), NOON, Card("4242", date(2027, 12, 31)))


# ---- what today's code decides


def test_an_order_is_placed_paid_and_shipped() -> None:
    placed = scenario(Order).at(NOON).when(Place("Ada", TEA, address=HOME)).then(PLACED)
    paid = placed.then_state(due=Decimal("9.80"), placed_at=NOON).when(Pay(Decimal("9.80"), PAID.method)).then(PAID)
    shipped = paid.then_state(due=Decimal("0.00"), status=Status.PAID).when(Ship(0.4)).then(Shipped(0.4, NOON))
    shipped.then_state(status=Status.SHIPPED, weight=0.4)
    shipped.when(Cancel("changed my mind")).then_rejected("too late or too early to cancel", status="shipped")


def test_what_is_not_right_is_rejected() -> None:
    scenario(Order).when(Place("Ada", TEA)).then_rejected("no address to ship to", shipping="standard")
    scenario(Order).when(Pay(Decimal("9.80"))).then_rejected("not what is due", status="new")
    placed = scenario(Order).given(PLACED)
    placed.when(Place("Ada", TEA, address=HOME)).then_rejected("placed already", status="placed")
    placed.when(Pay(Decimal("9.79"))).then_rejected("not what is due", due=Decimal("9.80"))
    placed.when(Ship(1.0)).then_rejected("not paid", due=Decimal("9.80"))


def test_who_picks_up_needs_no_address() -> None:
    scenario(Order).at(NOON).when(Place("Ada", TEA, Shipping.PICKUP)).then(Placed("Ada", TEA, Shipping.PICKUP, NOON))


def test_a_cancelled_order_owes_nothing_and_is_owed_nothing() -> None:
    scenario(Order).given(PLACED).when(Cancel("too slow")).then(Cancelled("too slow")).then_state(due=Decimal("0.00"))
    paid = scenario(Order).given(PLACED, PAID).when(Cancel("too slow"))
    paid.then(Cancelled("too slow"), Refunded(Decimal("9.80")))
    paid.then_state(due=Decimal("0.00"), status=Status.CANCELLED)


def test_a_payment_can_be_taken_back() -> None:
    taken = scenario(Order).given(PLACED, PAID).compensating(PAID).then(Refunded(Decimal("9.80")))
    taken.then_state(due=Decimal("9.80"), status=Status.PLACED)


@pytest.mark.parametrize(
    "command",
    [
        Place("", TEA),
        Place("Ada", []),
        Place("Ada", [Line("tea", 1, Decimal("-0.01"))]),
        Pay(Decimal("9.801")),
        Pay(Decimal("1.00"), Card("42", date(2027, 12, 31))),
        Ship(0.0),
    ],
)
def test_constraints_hold_at_the_door(command: object) -> None:
    with pytest.raises(InvalidCommand):
        scenario(Order).when(command)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.__name__)
def test_replays_agree(version: Any) -> None:
    assert not check_determinism(version.pipeline).problems


# ---- what earlier versions wrote


def as_written(pipeline: Pipeline, event: Any) -> bytes:
    (aggregate,) = pipeline.aggregates.values()
    write = Catalog(pipeline, None).event_writer(aggregate, type(event))
    return write(bytes(16), None, None, 0, 0, 1, 0, bytes(8), event)


def as_read(pipeline: Pipeline, value: bytes, schemas: Path | None = SCHEMAS) -> Any:
    (aggregate,) = pipeline.aggregates.values()
    return Catalog(pipeline, schemas).event_reader(aggregate, value[:10])(value)[1]


V1_LINE = v1.Line("tea", 2, Decimal("4.90"))
V2_LINE = v2.Line("tea", 2, Decimal("4.90"), "loose")
V2_HOME = v2.Address("Prinsengracht 7", "Amsterdam")


@pytest.mark.parametrize(
    ("version", "written", "read"),
    [
        (
            v1,
            v1.Placed("Ada", [V1_LINE], v1.Shipping.EXPRESS, NOON, "opening"),
            Placed("Ada", TEA, Shipping.EXPRESS, NOON),
        ),
        (v1, v1.Paid(Decimal("9.80"), NOON), Paid(Decimal("9.80"), NOON)),
        (v1, v1.Dispatched(3, NOON), Shipped(3.0, NOON)),
        (
            v2,
            v2.Placed("Ada", [V2_LINE], v2.Shipping.PICKUP, NOON, V2_HOME, gift=True),
            Placed("Ada", [Line("tea", 2, Decimal("4.90"), "loose")], Shipping.PICKUP, NOON, HOME),
        ),
        (v2, v2.Shipped(0.4, NOON), Shipped(0.4, NOON)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_old_event_is_read_as_todays(version: Any, written: Any, read: Any) -> None:
    found = as_read(app.pipeline, as_written(version.pipeline, written))
    assert found == read
    assert type(getattr(found, "weight", 0.0)) is float


def test_an_older_version_waits_for_what_it_does_not_know() -> None:
    drone = as_written(app.pipeline, Placed("Ada", TEA, Shipping.DRONE, NOON))
    with pytest.raises(UnknownSchema):
        as_read(v2.pipeline, drone, schemas=None)


# ---- the schema files, and their guard


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.__name__)
def test_every_version_left_its_schema_files(version: Any) -> None:
    assert missing(version.pipeline, SCHEMAS) == []


def test_there_are_no_schema_files_but_theirs() -> None:
    written = {each.relative_path for version in VERSIONS for each in Catalog(version.pipeline, None).schemas()}
    kept = {path.relative_to(SCHEMAS) for path in (SCHEMAS / "shop").rglob("*.avsc")}
    assert kept == {path for path in written if path.parts[0] == "shop"}


def test_todays_code_reads_all_of_them() -> None:
    assert check(app.pipeline, SCHEMAS) == []
    assert fold_files.compare(app.pipeline, SCHEMAS) == fold_files.FoldReport([], [])


@pytest.fixture
def proposed(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "shop_proposed.py"
    path.write_text(demo.propose(Path(app.__file__).read_text()))
    spec = importlib.util.spec_from_file_location("shop_proposed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop_proposed"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["shop_proposed"]


def test_a_change_that_forgets_an_old_name_is_refused(proposed: ModuleType) -> None:
    problems = [str(problem) for problem in check(proposed.pipeline, SCHEMAS)]
    assert len(problems) == 2  # the command and the event of version 1
    assert all("lines[items].quantity: the writer has no such field" in problem for problem in problems)


def test_a_proposal_that_changes_nothing_is_noticed() -> None:
    with pytest.raises(ExampleFailed, match=r"app.py has no line `quantity: int = field"):
        demo.propose("quantity: int")
