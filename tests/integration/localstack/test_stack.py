"""The life of a stack: started, shared, stopped with its owner however that ends, wiped; as root and as others."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventsrc.adapters.local.processes import is_alive
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.lock import holder
from eventsrc.localstack.problems import StackUnavailable
from eventsrc.localstack.processes import Account, accepts_connections, run_as, wait_until
from eventsrc.localstack.services import StackRecord, read_record
from eventsrc.localstack.stack import LocalStack

_REPOSITORY = Path(__file__).parents[3]

# Starts a stack, says so, and holds it until it is killed.
_OWNER = """\
import signal, sys
from pathlib import Path
from eventsrc.localstack.stack import LocalStack
services = LocalStack(Path(sys.argv[1])).start()
print(services.bootstrap_servers, services.database_url, flush=True)
signal.pause()
"""


@pytest.fixture
def state_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="eventsrc-stack-"))
    directory.chmod(0o755)
    yield directory
    with contextlib.suppress(StackUnavailable):
        LocalStack(directory).wipe()
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _owner(directory: Path, code: str = _OWNER, **options: object) -> Iterator[subprocess.Popen[str]]:
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]  # user and group pass through
        [sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _running(directory: Path) -> StackRecord:
    record = read_record(LocalStack(directory).directory.record)
    assert record is not None
    return record


def _pids(record: StackRecord) -> list[int]:
    return [record.supervisor, *(pid for pid, _ in record.children)]


def _answers(directory: Path) -> bool:
    services = LocalStack(directory).attach()
    if services is None:
        return False
    with psycopg.connect(services.database_url) as connection:
        connection.execute("SELECT 1")
    return accepts_connections(int(services.bootstrap_servers.rpartition(":")[2]))


def test_a_second_command_shares_the_stack_and_leaves_it_up(state_directory: Path) -> None:
    with LocalStack(state_directory) as owner:
        assert owner.owned
        with LocalStack(state_directory) as second:
            assert not second.owned
            services = second.attach()
            assert services is not None
            assert services.kafka is not None
            assert services.kafka.origin == "shared"
        assert _answers(state_directory)
    assert LocalStack(state_directory).attach() is None


def test_two_owners_at_once_make_one_stack(state_directory: Path) -> None:
    with _owner(state_directory) as first, _owner(state_directory) as second:
        assert first.stdout is not None
        assert second.stdout is not None
        assert first.stdout.readline() == second.stdout.readline() != ""


def test_a_second_start_finds_data_and_address_again(state_directory: Path) -> None:
    with LocalStack(state_directory) as stack:
        first = stack.start()
        with psycopg.connect(first.database_url) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        meta = (state_directory / "kafka/logs/meta.properties").read_text()
    with LocalStack(state_directory) as stack:
        second = stack.start()
        with psycopg.connect(second.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert second.bootstrap_servers == first.bootstrap_servers
    assert (state_directory / "kafka/logs/meta.properties").read_text() == meta


def test_nothing_outlives_a_killed_owner(state_directory: Path) -> None:
    with _owner(state_directory) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline()
        record = _running(state_directory)
        assert all(is_alive(pid) for pid in _pids(record))
        owner.kill()
        owner.wait()
        assert wait_until(lambda: not any(is_alive(pid) for pid in _pids(record)), timeout_s=40)
    assert holder(LocalStack(state_directory).directory.lock) is None


def test_a_child_that_the_owner_forked_does_not_keep_the_stack_up(state_directory: Path) -> None:
    forking = _OWNER.replace("print(", "import os\nif os.fork(): print(")
    with _owner(state_directory, forking, start_new_session=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline()
        record = _running(state_directory)
        owner.kill()
        owner.wait()
        try:
            assert wait_until(lambda: not any(is_alive(pid) for pid in _pids(record)), timeout_s=40)
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the children of a killed process on Linux only")
def test_nothing_outlives_a_killed_supervisor_and_the_next_start_works(state_directory: Path) -> None:
    stack = LocalStack(state_directory)
    stack.start()
    try:
        record = _running(state_directory)
        os.kill(record.supervisor, signal.SIGKILL)
        assert wait_until(lambda: not any(is_alive(pid) for pid in _pids(record)), timeout_s=40)
        failure = stack.failure()
        assert failure is not None
        assert "supervisor ended unexpectedly" in failure.problem
    finally:
        stack.stop()
    with LocalStack(state_directory):
        assert _answers(state_directory)


def test_a_server_that_dies_takes_the_stack_down_and_is_named(state_directory: Path) -> None:
    with LocalStack(state_directory) as stack:
        record = _running(state_directory)
        kafka, postgres = (pid for pid, _ in record.children)
        os.kill(postgres, signal.SIGKILL)
        assert wait_until(lambda: stack.failure() is not None, timeout_s=40)
        failure = stack.failure()
        assert failure is not None
        assert failure.problem == "Postgres ended while it was in use, and the stack was stopped with it"
        assert not is_alive(kafka)


def test_after_everything_was_killed_the_data_is_still_there(state_directory: Path) -> None:
    with _owner(state_directory) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().split()[1]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        pids = [*_pids(_running(state_directory)), owner.pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # one end takes others with it
                os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout_s=40)
    with LocalStack(state_directory) as stack, psycopg.connect(stack.start().database_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_only_what_is_needed_is_started_and_a_running_stack_is_not_extended(state_directory: Path) -> None:
    stack = LocalStack(state_directory)
    try:
        services = stack.start({"postgres"})
        assert services.kafka is None
        with pytest.raises(StackUnavailable, match="has no kafka"):
            LocalStack(state_directory).start()
    finally:
        stack.stop()


def test_wipe_is_refused_while_the_stack_runs_and_then_removes_everything(state_directory: Path) -> None:
    (state_directory / "workers" / "group").mkdir(parents=True)
    with LocalStack(state_directory):
        with pytest.raises(StackUnavailable, match="cannot be wiped"):
            LocalStack(state_directory).wipe()
        assert _answers(state_directory)
    LocalStack(state_directory).wipe()
    assert [path.name for path in state_directory.rglob("*") if path.is_file()] == ["lock"]
    with LocalStack(state_directory):
        assert _answers(state_directory)


def test_a_port_that_is_taken_meanwhile_is_replaced(state_directory: Path) -> None:
    with LocalStack(state_directory) as stack:
        port = int(stack.start({"kafka"}).bootstrap_servers.rpartition(":")[2])
    import socket

    with socket.create_server(("127.0.0.1", port)), LocalStack(state_directory) as stack:
        assert stack.start().bootstrap_servers != f"127.0.0.1:{port}"


def test_everything_listens_on_loopback_only(state_directory: Path) -> None:
    with LocalStack(state_directory):
        properties = (state_directory / "kafka/server.properties").read_text()
        listeners = next(line for line in properties.splitlines() if line.startswith("listeners="))
        assert all("://127.0.0.1:" in listener for listener in listeners.removeprefix("listeners=").split(","))
        if Path("/proc/net/tcp").exists():
            assert _listening_elsewhere([pid for pid, _ in _running(state_directory).children]) == []


def _listening_elsewhere(pids: list[int]) -> list[str]:
    """Local addresses other than 127.0.0.1 on which one of the processes listens."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    elsewhere = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            loopback = fields[1].startswith(("0100007F:", "0000000000000000FFFF00000100007F:"))
            if fields[3] == "0A" and fields[9] in inodes and not loopback:
                elsewhere.append(fields[1])
    return elsewhere


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_without_a_home_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    python = _python_for_others()
    if python is None:
        pytest.skip("no Python here that another user can run")
    directory = Path(tempfile.mkdtemp(prefix="eventsrc-nobody-"))
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    cache = Path(os.environ.get("EVENTSRC_CACHE_DIR", "~/.cache/eventsrc")).expanduser()
    shutil.copytree(cache, directory / "cache", ignore=shutil.ignore_patterns("*.classes", "*.lock"))
    code = _OWNER.replace("signal.pause()", "")
    paths = [path for path in sys.path if path and "site-packages" in path]
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "PYTHONPATH": ":".join([str(_REPOSITORY), *paths]),
        "EVENTSRC_CACHE_DIR": str(directory / "cache"),
    }
    for entry in directory.rglob("*"):
        os.chown(entry, nobody.pw_uid, nobody.pw_gid)
    try:
        done = subprocess.run(
            [python, "-c", code, str(directory / "state")],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("127.0.0.1:")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _python_for_others() -> Path | None:
    """A Python of this version that an ordinary user can run, and that can import this repository."""
    nobody = pwd.getpwnam("nobody")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = f"import sys; sys.path.insert(0, {str(_REPOSITORY)!r}); import eventsrc.localstack"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if run_as(Account("nobody", nobody.pw_uid, nobody.pw_gid), [python, "-c", code]).returncode == 0:
            return Path(python)
    return None


def test_a_failed_start_says_why_and_what_to_do(state_directory: Path) -> None:
    logs = state_directory / "kafka/logs"
    logs.mkdir(parents=True)
    (logs / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=99\ndirectory.id=y\n")
    stack = LocalStack(state_directory)
    with pytest.raises(StackUnavailable, match="Kafka did not start") as raised:
        stack.start()
    assert "kafka.log" in raised.value.mend
    assert not stack.owned
    assert json.loads(stack.directory.failure.read_text())[0] == raised.value.problem


def test_a_broker_cannot_be_started_twice(own_broker: type[KafkaBroker]) -> None:
    broker = own_broker().start()  # type: ignore[call-arg]  # the fixture gives the rest
    with pytest.raises(RuntimeError, match="runs already"):
        broker.start()


def test_what_no_stack_has_put_there_is_not_wiped(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("precious")
    (tmp_path / ".gitignore").write_text("*.log\n")
    with pytest.raises(StackUnavailable, match=r"not wiped.*app\.py"):
        LocalStack(tmp_path).wipe_own()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".gitignore", "app.py"]
    LocalStack(tmp_path / "none").wipe_own()
    LocalStack(tmp_path).directory.make()
    assert (tmp_path / ".gitignore").read_text() == "*.log\n"
