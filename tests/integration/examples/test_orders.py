"""`python -m examples.orders` on a real Kafka: three versions write one history, which the third reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from eventsrc import Client
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.runtime.settings import Settings
from examples.orders import app
from examples.orders.app import Card, Line, Order, Placed, Shipped, Shipping, Status

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "schemas" / "shop"

Command = Callable[[], subprocess.CompletedProcess[str]]


@pytest.fixture
def kafka_of_its_own(own_broker: Callable[..., KafkaBroker]) -> str:
    """Version 1 cannot be run on a log to which later versions have written."""
    return own_broker().start().bootstrap_servers


@pytest.fixture
def command(kafka_of_its_own: str, database_url: str, tmp_path: Path) -> Command:
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka_of_its_own, "DATABASE_URL": database_url}
    words = [sys.executable, "-m", "examples.orders", "--state-dir", str(tmp_path / "orders")]
    return lambda: subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False
    )


def test_three_versions_write_one_history(command: Command, kafka_of_its_own: str, tmp_path: Path) -> None:
    shown = command()
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    for line in (
        "examples.orders.history.v1:pipeline   4 events written",
        "examples.orders.history.v2:pipeline   3 events written",
        "examples.orders.app:pipeline   6 events written",
        "ok: declarations",
        "lines[items].quantity: the writer has no such field",
        "refused   with exit code 5",
    ):
        assert line in shown.stdout
    _check_history(kafka_of_its_own, tmp_path / "orders" / "schemas")
    _check_schema_files(tmp_path / "orders" / "schemas" / "shop")

    again = command()
    assert again.returncode == 1
    assert "shop.purchase.commands was there before" in again.stderr
    assert "next: delete the topics shop.*" in again.stderr


def _check_history(kafka: str, schemas_dir: Path) -> None:
    with Client(app.pipeline, kafka, Settings(schemas_dir=schemas_dir)) as client:
        whole = client.get(Order, "o-1")  # of version 1 alone
        assert whole is not None
        assert whole.lines == [Line("tea", 2, Decimal("4.90")), Line("pot", 1, Decimal("31.00"))]
        assert (whole.status, whole.due, whole.weight, whole.method) == (Status.SHIPPED, Decimal("0.00"), 3.0, None)

        placed, _, shipped = [recorded.event for recorded in client.history(Order, "o-2")]  # an event of each version
        assert isinstance(placed, Placed)
        assert (placed.shipping, placed.address, placed.wrapping) == (Shipping.EXPRESS, None, None)
        assert isinstance(shipped, Shipped)
        assert shipped.weight == 0.45

        cancelled = client.get(Order, "o-3")
        assert cancelled is not None
        assert (cancelled.status, cancelled.due) == (Status.CANCELLED, Decimal("0.00"))
        assert cancelled.method == Card("4242", date(2027, 12, 31))
        assert cancelled.lines[0].note == "the blue ones"


def _check_schema_files(written: Path) -> None:
    """Those in the repository are those that the three versions leave when they are run."""
    kept = {path.relative_to(SCHEMAS): path.read_bytes() for path in SCHEMAS.rglob("*.*")}
    assert {path.relative_to(written): path.read_bytes() for path in written.rglob("*.*")} == kept
