"""An events topic that lost committed records under its checkpoints: row 26, on a broker of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsrc.localstack.distribution import KafkaDistribution
from tests.fault.scene import APP, ROUNDS, SOON, Scene
from tests.fault.test_snapshot_logs import delete_group
from tests.fault.test_topics import deposits
from tests.harness import bank_model
from tests.harness.brokers import proxied_broker
from tests.harness.checker import check, report
from tests.harness.collect import Reader, wait_until
from tests.harness.database import Database
from tests.harness.truncation import truncate_log
from tests.harness.wire import parse_event_key

HALTED = r"partition account/0 is halted: .*"


@pytest.fixture
def own_scene(kafka_distribution: KafkaDistribution, tmp_path: Path, database: Database) -> Iterator[Scene]:
    with proxied_broker(tmp_path / "broker", kafka_distribution) as cluster:
        reader = Reader(cluster.direct)
        with Scene(cluster, reader, tmp_path, database) as made:
            made.configure(**{**SOON, "batch_records": 4})
            yield made
            print(made.logs())
        reader.close()


def applied(scene: Scene) -> list[bytes]:
    """Keys of all events."""
    keys = [record.key or b"" for record in scene.reader.read(scene.events)]
    return [key for key in keys if parse_event_key(key)]


def discard_checkpoints(scene: Scene) -> None:
    """As the halt says."""
    command = [sys.executable, "-m", "eventsrc", "checkpoint", "discard", APP, "--aggregate", "account"]
    environment = {**os.environ, **scene.environment(), "DATABASE_URL": scene.database.direct}
    environment["KAFKA_BOOTSTRAP_SERVERS"] = scene.cluster.direct
    done = subprocess.run(
        [*command, "--partition", "0", "--yes"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_log_truncated_below_its_checkpoint(own_scene: Scene, seed: int) -> None:
    """Row 26: found while the group's notes are there and where they were given up; where the log has grown again, by the
    anchors. Each halt says what to do, and what it says works."""
    scene, share = own_scene, 0.2 if seed % 2 == 0 else 0.8  # below the last term, or within it
    client = scene.client()
    worker = scene.worker()
    for life, count in ((0, 40), (1, 80)):
        worker.start()
        scene.send_all(client, deposits(count), life)
        assert client.wait_answered(60), worker.log()
        if life == 0:
            assert worker.drain() == 0
    ends = scene.committed_all()
    covered = "SELECT partition, commands_position FROM eventsrc.checkpoint ORDER BY position"
    wait_until(lambda: dict(scene.database.sql(covered)) == ends, 60, "checkpoints of all")
    assert worker.drain() == 0

    scene.cluster.broker.kill()
    end = truncate_log(scene.cluster.broker, scene.events, 0, share)
    scene.cluster.broker.start()
    assert 2 < end < scene.database.positions()[0]

    worker.start()
    said = worker.wait_log(HALTED)[0]
    assert "truncated" in said
    assert "Stop the workers" in said
    worker.wait_log(r"(?s)(.* open after){3}")
    assert worker.drain() == 0

    delete_group(scene)
    worker.start()
    said = worker.wait_log(HALTED)[0]
    assert "truncated" in said
    assert "checkpoint discard" in said
    worker.kill()

    worker.start(DATABASE_URL="")  # somebody works without the checkpoints: what was lost is decided again
    worker.wait_log(r"(?s)(.* open after){4}")
    wait_until(lambda: len(applied(scene)) == 120, 60, f"all decided again\n{worker.log()}")
    assert worker.drain() == 0

    worker.start()
    said = worker.wait_log(HALTED)[0]
    assert "knows the record" in said
    assert "checkpoint discard" in said
    assert worker.drain() == 0

    discard_checkpoints(scene)
    worker.start()
    worker.wait_log(r"(?s)(.* open after){4}")
    scene.send_all(client, deposits(40), seed=2)
    assert client.wait_answered(60), worker.log()
    scene.wait_checkpoints(2)
    evidence = scene.evidence()
    client.close()
    assert len(set(applied(scene))) == len(applied(scene)) == 160
    found = [violation for violation in check(evidence, bank_model) if violation.invariant in ("I3", "I4", "I6")]
    assert found == [], report(found)
