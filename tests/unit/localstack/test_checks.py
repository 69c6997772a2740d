"""Findings become one exit code, and an answer of a broker becomes a release."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from eventsrc.localstack.check import Check, failed, ok, skipped, unreachable, warning
from eventsrc.localstack.checks import exit_code, run_checks
from eventsrc.localstack.kafka_version import broker_release, release_in, release_of
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.services import Services
from eventsrc.localstack.stack import LocalStack

_OK, _WARNING, _SKIPPED = ok("a", "fine"), warning("b", "slow", "do"), skipped("c", "not needed")
_FAILED, _UNREACHABLE = failed("d", "broken", "do"), unreachable("e", "away", "do")


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([_OK, _WARNING, _SKIPPED], 0),
        ([_OK, _FAILED], 1),
        ([_FAILED, _UNREACHABLE, _SKIPPED], 3),
        ([], 0),
    ],
)
def test_the_exit_code_says_the_worst(checks: list[Check], code: int) -> None:
    assert exit_code(checks) == code


@pytest.mark.parametrize(
    ("highest", "release"), [(1, "3.3"), (21, "3.9"), (22, "4.0"), (31, "4.4"), (33, "4.4"), (34, "newer than 4.4")]
)
def test_the_highest_metadata_version_tells_the_release(highest: int, release: str) -> None:
    assert release_of(highest) == release


def _answer(highest: int) -> bytes:
    return b"\0" * 20 + bytes([17]) + b"metadata.version" + struct.pack(">hh", 7, highest) + b"\0"


def test_an_answer_without_features_tells_nothing() -> None:
    assert release_in(_answer(33)) == "4.4"
    assert release_in(b"\0" * 40) is None
    assert release_in(_answer(33)[:-4]) is None


@pytest.mark.parametrize("length", [-1, 0, 2_000_000_000])
def test_what_is_no_kafka_is_not_believed(length: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(struct.pack(">i", length))

        thread = threading.Thread(target=answer)
        thread.start()
        assert broker_release("127.0.0.1", server.getsockname()[1]) is None
        thread.join()


def test_without_java_the_services_are_not_tried_and_the_mend_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise StackUnavailable("Kafka needs Java 17 or newer", "set JAVA_HOME")

    monkeypatch.setattr("eventsrc.localstack.checks.find_java", none)
    checks = list(run_checks(LocalStack(tmp_path), Services(None, None), {}))
    java = next(check for check in checks if check.name == "java")
    assert (java.verdict, java.mend) == ("failed", "set JAVA_HOME")
    assert [check.name for check in checks if check.verdict == "skipped"] == [
        "kafka",
        "transaction",
        "fencing",
        "postgres",
        "tables",
    ]
    assert exit_code(checks) == 1
