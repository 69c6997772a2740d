"""A worker that cannot start."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from eventsrc.adapters.local.slots import Slot
from eventsrc.errors import TopicsInvalid
from eventsrc.runtime import worker
from eventsrc.runtime.settings import Settings
from tests.unit.engine.shop import pipeline


def test_a_start_that_a_topic_prevents_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarted until its topics are there, a worker must not take commands one at a time from then on."""

    def missing(*arguments: Any) -> Any:
        raise TopicsInvalid("topics are missing")

    monkeypatch.setattr(worker, "verify_topics", missing)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *counts: None)
    slot = Slot.take(tmp_path, "shop")
    try:
        started = worker._Worker(pipeline, Settings(bootstrap_servers="127.0.0.1:1"), slot, threading.Event())
        with pytest.raises(TopicsInvalid):
            started.run()
    finally:
        slot.release()
    assert not (slot.directory / "crash-record.json").exists()
