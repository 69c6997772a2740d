"""When a topic is said to be another one."""

from __future__ import annotations

import pytest

from eventsrc.adapters.kafka import topic_watch
from eventsrc.adapters.kafka.topic_watch import TopicWatch


def test_a_topic_has_changed_when_two_looks_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just started may not know a topic that is there: that would halt healthy partitions."""
    monkeypatch.setattr(topic_watch, "INTERVAL_S", 3600.0)
    said: list[tuple[str, str]] = []
    watch = TopicWatch({}, {"one": "id", "two": "id"}, lambda topic, what: said.append((topic, what)))
    try:
        seen = watch._report({}, {"one": "it was deleted", "two": "it was deleted"})
        assert said == []
        seen = watch._report(seen, {"two": "it was deleted and made anew"})
        assert said == [("two", "it was deleted and made anew")]
        assert watch._report(seen, {"one": "it was deleted"}) == {"one": "it was deleted"}
        assert said == [("two", "it was deleted and made anew")]
    finally:
        watch.close()
