"""The parts of a stack that need no server: addresses, records, the lock, properties, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventsrc.errors import Unreachable
from eventsrc.localstack.kafka import kafka_uuid
from eventsrc.localstack.kafka_properties import Listeners, server_properties
from eventsrc.localstack.lock import StackDirectory, holder, try_lock
from eventsrc.localstack.postgres import PostgresServer
from eventsrc.localstack.problems import StackUnavailable, server_failed
from eventsrc.localstack.services import Service, Services, StackRecord, read_record
from eventsrc.localstack.stack import LocalStack, given_services, resolve_services

_KAFKA = Service("127.0.0.1:1", "started", "4.4.0", 0.9, "/somewhere/kafka")


def test_given_addresses_are_taken_and_nothing_is_started(tmp_path: Path) -> None:
    given = given_services({"KAFKA_BOOTSTRAP_SERVERS": "k:1", "DATABASE_URL": "postgresql://p/x"})
    services = resolve_services(LocalStack(tmp_path / "state"), given)
    assert (services.bootstrap_servers, services.database_url) == ("k:1", "postgresql://p/x")
    assert services.kafka == Service("k:1", "given")
    assert not (tmp_path / "state").exists()


def test_our_own_variables_come_before_the_plain_ones() -> None:
    given = given_services({"KAFKA_BOOTSTRAP_SERVERS": "plain:1", "EVENTSRC_BOOTSTRAP_SERVERS": "own:1"})
    assert given.bootstrap_servers == "own:1"
    assert given.postgres is None


def test_only_what_is_needed_must_be_there(tmp_path: Path) -> None:
    given = Services(_KAFKA, None)
    assert resolve_services(LocalStack(tmp_path), given, needs={"kafka"}, start=False) == given
    with pytest.raises(StackUnavailable, match="no address is given for postgres") as raised:
        resolve_services(LocalStack(tmp_path), given, start=False)
    assert "eventsrc dev" in raised.value.mend
    with pytest.raises(LookupError):
        _ = given.database_url


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = StackRecord(7, [(8, "123"), (9, "124")], _KAFKA, None)
    record.write(tmp_path / "stack.json")
    assert read_record(tmp_path / "stack.json") == record


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"supervisor": 1}', '{"supervisor": "x"}', "null"])
def test_a_damaged_record_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    assert read_record(tmp_path / "stack.json") is None


def test_a_record_of_a_stack_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path)
    stack.directory.make()
    StackRecord(os.getpid(), [], _KAFKA, None).write(stack.directory.record)
    assert stack.attach() is None


def test_the_lock_is_held_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import signal; from pathlib import Path; from eventsrc.localstack.lock import try_lock\n"
        f"held = try_lock(Path({str(path)!r})); print(held, flush=True); signal.pause()"
    )
    assert holder(path) is None
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert holder(path) == other.pid
        assert try_lock(path) is None
        other.kill()
    assert holder(path) is None
    descriptor = try_lock(path)
    assert descriptor is not None
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StackUnavailable, match="cannot write to"):
        StackDirectory(tmp_path / "state").make()


def test_a_state_directory_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackUnavailable, match="cannot write to") as raised:
        LocalStack(tmp_path / "file" / "state").start()
    assert "--state-dir" in raised.value.mend


def test_state_is_kept_out_of_version_control(tmp_path: Path) -> None:
    StackDirectory(tmp_path / "state").make()
    assert (tmp_path / "state/.gitignore").read_text() == "*\n"


def test_a_broker_listens_on_loopback_and_keeps_every_guarantee(tmp_path: Path) -> None:
    properties = server_properties(tmp_path, 1, Listeners(1001, 1002), {1: 1002}, {"num.io.threads": "8"})
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1001"
    assert properties["num.io.threads"] == "8"
    assert properties["auto.create.topics.enable"] == "false"
    assert properties["transaction.state.log.min.isr"] == "1"


def test_a_second_listener_advertises_its_proxy(tmp_path: Path) -> None:
    properties = server_properties(tmp_path, 1, Listeners(1001, 1002, 1003, 2000), {1: 1002}, {})
    assert "PROXIED://127.0.0.1:1003" in properties["listeners"]
    assert "PROXIED://127.0.0.1:2000" in properties["advertised.listeners"]


def test_three_brokers_replicate_their_internal_topics(tmp_path: Path) -> None:
    properties = server_properties(tmp_path, 2, Listeners(1, 12), {1: 11, 2: 12, 3: 13}, {})
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:11,2@127.0.0.1:12,3@127.0.0.1:13"
    assert properties["transaction.state.log.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"


def test_kafka_takes_our_ids() -> None:
    ids = {kafka_uuid() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 22 and not each.startswith("-") for each in ids)


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("java.io.IOException: No space left on device", "disk space"),
        ("FATAL: database files are incompatible with server", "--fresh"),
        ("Native memory allocation (mmap) failed: Cannot allocate memory", "memory"),
        ("something nobody has seen", "read /log"),
    ],
)
def test_the_mend_is_read_from_the_log(line: str, mend: str) -> None:
    error = server_failed("Kafka", f"earlier\n{line}\n", "/log")
    assert mend in error.mend
    assert line in str(error)
    assert isinstance(error, Unreachable)


def test_a_server_that_said_nothing_is_named_too() -> None:
    assert "wrote nothing" in server_failed("Kafka", "", "/log").problem


def test_a_socket_path_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("d" * 120)
    long.mkdir()
    monkeypatch.setattr("eventsrc.localstack.postgres._temporary_directory", lambda: long)
    server = PostgresServer(tmp_path / "postgres")
    with pytest.raises(StackUnavailable, match="socket is too long") as raised:
        server.start()
    assert "TMPDIR" in raised.value.mend


def test_a_socket_directory_that_another_user_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsrc.localstack.postgres._temporary_directory", lambda: tmp_path)
    server = PostgresServer(tmp_path / "postgres")
    (tmp_path / "elsewhere").mkdir()
    server.socket_directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StackUnavailable, match="belongs to another user"):
        server.start()


def test_the_socket_of_a_server_is_found_again(tmp_path: Path) -> None:
    assert PostgresServer(tmp_path / "a").url == PostgresServer(tmp_path / "a").url
    assert PostgresServer(tmp_path / "a").url != PostgresServer(tmp_path / "b").url
