"""What probes and metrics say of workers, and whom they say it to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import (
    CheckpointReport,
    HistogramReport,
    PartitionReport,
    RecoveryProgress,
    TotalsReport,
    WorkerReport,
)
from eventsrc.runtime import http_answers
from eventsrc.runtime.exposition import render
from eventsrc.runtime.health import Observed
from eventsrc.runtime.http_answers import Answer, Answers, Asked

NOW_US = 1_800_000_000_000_000
OPEN = PartitionReport(
    PartitionKey("account", 0), "open", None, 10, 20, 5, 4, CheckpointReport(16, NOW_US - 3_000_000, 2048, 3), 0.25, None,
    None, 7, 2,
)  # fmt: skip
READING = PartitionReport(
    PartitionKey("account", 1), "reading", "reading its events", None, None, 0, 0, None, 0.0, RecoveryProgress(9, 3, 1.5, 4.0)
)  # fmt: skip
HALTED = PartitionReport(
    PartitionKey("account", 2), "halted", "sequence 4 twice", None, None, 0, 0, None, 0.0, None, "sequence-twice"
)
TOTALS = TotalsReport(
    applied=5, rejected=2, empty=1, duplicate=3, dead=4, dead_by_reason={"constraint": 3, "bad-id": 1}, events=6,
    transactions_committed=9, transaction_s=HistogramReport((0.1, 1.0), (2, 3, 4), 12.5), recoveries=2, recovery_s=1.5,
)  # fmt: skip


def worker(*partitions: PartitionReport, age_s: float = 0.5, pid: int | None = 1, **report: Any) -> Observed:
    made = WorkerReport("w-0", NOW_US, 0.6, 2.0, None, None, partitions, "bank", totals=TOTALS, **report)
    return Observed("w-0", made, age_s, pid)


def ask(path: str, *workers: Observed, token: str | None = None, local_only: bool = True, **headers: str) -> Answer:
    asked = Asked(path, headers.get("host", "localhost:9100"), headers.get("authorization", ""), "")
    return Answers(lambda: workers, token, local_only=local_only).answer(asked)


def said(answer: Answer) -> Any:
    return json.loads(answer.body)


# ---- probes


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (worker(OPEN), None),
        (worker(), None),
        (worker(member=False), "not in its group"),
        (worker(OPEN, draining=True), "drains"),
        (worker(OPEN, age_s=31.0, stalled_after_s=30.0), "has not turned for 31 s"),
        (worker(OPEN, pid=None), "no process"),
        (Observed("w-0", None, 0.1, 1), "has not joined"),
        (worker(OPEN, READING), "not open"),
    ],
)
def test_ready_is_who_has_its_share_of_the_group_and_each_of_it_open(observed: Observed, reason: str | None) -> None:
    answer = ask("/readyz", observed)
    (told,) = said(answer)["workers"]
    assert answer.status == (200 if reason is None else 503)
    assert said(answer)["ready"] is told["ready"] is (reason is None)
    assert told["reason"] is None if reason is None else reason in told["reason"]


def test_each_partition_that_is_not_open_says_why() -> None:
    (told,) = said(ask("/readyz", worker(OPEN, READING, HALTED)))["workers"]
    assert (told["partitions"], told["open"]) == (3, 1)
    assert told["not_open"] == [
        {
            "partition": "account/1", "phase": "reading", "reason": "reading its events", "code": None,
            "recovery": {"need": 9, "have": 3, "rate": 1.5, "left_s": 4.0},
        },
        {
            "partition": "account/2", "phase": "halted", "reason": "sequence 4 twice", "code": "sequence-twice",
            "recovery": None,
        },
    ]  # fmt: skip


def test_one_worker_of_several_that_is_not_ready_is_enough() -> None:
    answer = ask("/readyz", worker(OPEN), worker(OPEN, READING))
    assert (answer.status, [each["ready"] for each in said(answer)["workers"]]) == (503, [True, False])


def test_healthy_is_a_loop_that_turns_whatever_its_partitions_do() -> None:
    assert ask("/healthz", worker(HALTED)).status == 200
    assert ask("/healthz", worker(HALTED, age_s=29.9, stalled_after_s=30.0)).status == 200
    stalled = ask("/healthz", worker(OPEN, age_s=30.1, stalled_after_s=30.0))
    assert (stalled.status, said(stalled)["workers"][0]["loop_turned_s_ago"]) == (503, 30.1)
    assert ask("/healthz", worker(OPEN, age_s=30.1, stalled_after_s=30.0, pid=None)).status == 200  # started again
    assert ask("/healthz", Observed("w-0", None, 301.0, 1)).status == 503


# ---- metrics


def samples(*workers: Observed) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, content_type = render(workers, NOW_US, "")
    assert content_type.startswith("text/plain")
    families = list(text_string_to_metric_families(body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_what_the_report_says() -> None:
    found = samples(worker(OPEN, READING, HALTED))

    def value(name: str, **labels: str) -> float:
        return found[f"eventsrc_{name}", tuple(sorted({"worker": "w-0", **labels}.items()))]

    outcomes = {
        name: value("commands_total", outcome=name) for name in ("applied", "rejected", "empty", "duplicate", "dead")
    }
    assert outcomes == {"applied": 5, "rejected": 2, "empty": 1, "duplicate": 3, "dead": 4}
    assert (value("dead_letters_total", reason="constraint"), value("dead_letters_total", reason="bad-id")) == (3, 1)
    assert value("transaction_duration_seconds_bucket", le="0.1") == 2
    assert value("transaction_duration_seconds_bucket", le="1.0") == 5
    assert value("transaction_duration_seconds_bucket", le="+Inf") == value("transaction_duration_seconds_count") == 9
    assert value("transaction_duration_seconds_sum") == 12.5
    assert (value("partitions_assigned"), value("partitions_open"), value("partitions_halted")) == (3, 1, 1)
    assert (value("predicted_recovery_seconds"), value("recovery_objective_seconds")) == (0.6, 2.0)
    first = {"aggregate": "account", "partition": "0"}
    assert (value("lag_commands", **first), value("live_aggregates", **first)) == (7, 2)
    assert (value("checkpoint_age_seconds", **first), value("checkpoint_size_bytes", **first)) == (3, 2048)
    assert value("recovery_offsets_read", aggregate="account", partition="1") == 3
    phases = {
        dict(labels)["phase"]
        for (name, labels), shown in found.items()
        if name == "eventsrc_partition_phase" and dict(labels)["partition"] == "2" and shown == 1
    }
    assert phases == {"halted"}
    assert value("worker_ready") == 0
    assert value("worker_info", pipeline="bank") == 1


def test_several_workers_share_a_family_and_differ_in_a_label() -> None:
    other = worker(OPEN)._replace(instance="w-1")
    found = samples(worker(OPEN), other, Observed("w-2", None, 1.0, None))
    running = {
        dict(labels)["worker"]: shown for (name, labels), shown in found.items() if name == "eventsrc_worker_running"
    }
    assert running == {"w-0": 1, "w-1": 1, "w-2": 0}


def test_names_are_in_base_units_and_nothing_is_labelled_by_an_aggregates_id() -> None:
    allowed = {"worker", "aggregate", "partition", "phase", "outcome", "reason", "result", "le", "pipeline"}
    for name, labels in samples(worker(OPEN, READING, HALTED)):
        assert name.startswith(("eventsrc_", "process_"))
        assert not re_units(name), name
        assert set(dict(labels)) <= allowed


def re_units(name: str) -> bool:
    return any(word in name.split("_") for word in ("ms", "us", "millis", "kb", "mb", "minutes"))


def test_without_the_library_metrics_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "eventsrc.runtime.exposition")
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    answer = ask("/metrics", worker(OPEN))
    assert answer.status == 501
    assert said(answer)["error"] == http_answers.EXTRA_MISSING
    assert "eventsrc[metrics]" in http_answers.EXTRA_MISSING


# ---- to whom


def test_loopback_answers_to_its_own_names_alone() -> None:
    for host in ("localhost:9100", "127.0.0.1:9100", "127.0.0.1", "[::1]:9100", "[::1]", "localhost"):
        assert ask("/healthz", worker(OPEN), host=host).status == 200, host
    for host in (
        "evil.example:9100",
        "evil.example",
        "127.evil.example",
        "",
        "127.0.0.1.evil.example:80",
        "[::2]:9100",
    ):
        assert ask("/healthz", worker(OPEN), host=host).status == 421, host
    assert ask("/healthz", worker(OPEN), host="pod.internal", local_only=False).status == 200


def test_without_the_token_a_probe_has_its_status_and_nothing_else() -> None:
    for authorization in ("", "Bearer wrong", "Basic right", "right", "Bearer righ\u00fc"):
        answer = ask("/readyz", worker(HALTED), token="right", authorization=authorization)
        assert (answer.status, said(answer)) == (503, {"ready": False})
        assert ask("/metrics", worker(HALTED), token="right", authorization=authorization).status == 401
    assert ask("/metrics", worker(HALTED), token="right", authorization="Bearer right").status == 200
    assert "workers" in said(ask("/readyz", worker(HALTED), token="right", authorization="bearer right"))


def test_other_paths_name_those_there_are() -> None:
    answer = ask("/", worker(OPEN))
    assert (answer.status, said(answer)["error"]) == (404, "there are /healthz, /readyz and /metrics")
