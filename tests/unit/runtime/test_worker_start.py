"""A worker that cannot start, or not go on: its topics are missing, its identity is another's."""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventsrc.adapters.local.slots import Slot
from eventsrc.errors import Fenced, TopicsInvalid
from eventsrc.runtime import worker
from eventsrc.runtime.settings import Settings
from tests.unit.engine.shop import pipeline

PROOF = b"CGMDv2:" + struct.pack("<i", 7) + b"shop\0%b\0"


class Group:
    """Who the group says holds our instance id, at one look after the other."""

    def __init__(self, instance: str, *holders: str) -> None:
        self._instance, self._holders = instance, list(holders)

    def members(self) -> dict[str, str]:
        return {self._instance: self._holders.pop(0)}


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    taken = Slot.take(tmp_path, "shop")
    yield taken
    taken.release()


def made(slot: Slot) -> worker._Worker:
    return worker._Worker(pipeline, Settings(bootstrap_servers="127.0.0.1:1"), slot, threading.Event())


def test_a_new_membership_of_our_own_is_no_other_process(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group knows it before the loop does: after a session that ended, or a coordinator that was away."""
    monkeypatch.setattr(worker, "LOOK_AGAIN_S", 0.0)
    started, proofs = made(slot), iter([PROOF % b"before", PROOF % b"after"])
    monkeypatch.setattr(started, "_group", Group(slot.instance_id, "after", "after"))
    started._check_identity(lambda: next(proofs))


def test_another_process_with_our_instance_id_ends_us(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK_AGAIN_S", 0.0)
    started = made(slot)
    monkeypatch.setattr(started, "_group", Group(slot.instance_id, *["another"] * 3))
    with pytest.raises(Fenced, match="another process"):
        started._check_identity(lambda: PROOF % b"ours")


def test_a_start_that_a_topic_prevents_is_no_crash(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarted until its topics are there, a worker must not take commands one at a time from then on."""

    def missing(*arguments: Any) -> Any:
        raise TopicsInvalid("topics are missing")

    monkeypatch.setattr(worker, "verify_topics", missing)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *counts: None)
    with pytest.raises(TopicsInvalid):
        made(slot).run()
    assert not (slot.directory / "crash-record.json").exists()
