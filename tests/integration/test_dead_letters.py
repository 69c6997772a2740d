"""`eventsrc dlq` as an operator meets it: real letters of a real worker, looked at, sent again in order and once, dropped."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, murmur2

from eventsrc import Pipeline
from eventsrc.adapters.kafka.dead_letter_writer import transactional_id
from eventsrc.engine.letters import Audit, LetterPlace, Source
from eventsrc.runtime.dead_letter_box import CHUNK_LETTERS, DeadLetterBox
from eventsrc.runtime.settings import Settings
from tests.harness.brokers import alter_topic
from tests.harness.collect import Reader, wait_until
from tests.harness.till import PARTITIONS, Till


@pytest.fixture
def till(kafka: str, tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path, kafka)
    made.run()
    yield made
    made.close()
    print((tmp_path / "worker.log").read_text()[-3000:])


def waiting(till: Till, *words: str) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = till.json("dlq", "list", "--limit", "1000", *words)["letters"]
    return letters


def sources_of_events(till: Till) -> Counter[str]:
    """How often each command has taken effect, by its id."""
    reader = Reader(till.kafka)
    reader.wait_stable(till.events)
    reader.close()
    found: Counter[str] = Counter()
    for line in till("tail", "--no-follow", "--json").splitlines():
        found[json.loads(line)["command_id"]] += 1
    return found


def test_what_waits_is_listed_counted_and_shown(till: Till) -> None:
    till.break_it()
    said = till.deposit("alice", 5)
    assert "handler-failed" in said
    producer = Producer({"bootstrap.servers": till.kafka})
    where = murmur2(b"bob", PARTITIONS)
    producer.produce(till.commands, b"\xff\0junk", b"bob", where, headers=[("traceparent", b"00-1"), ("odd", b"\xff")])
    producer.produce(till.commands, None, None, 0)
    producer.flush(10)
    till.settle()

    found = till.json("dlq", "list")
    assert found["by_reason"] == {"handler-failed": 1, "undecodable": 1, "null-key": 1}
    assert found["matching"] == 3
    (failed,) = waiting(till, "--reason", "handler-failed", "--aggregate", "Account", "--id", "alice", "--since", "-1h")
    assert (failed["command"], failed["payload"], failed["attempt"]) == ("Deposit", {"amount": 5}, 1)
    assert waiting(till, "--until", "-1h") == []
    assert len(waiting(till, "--limit", "2")) == 2

    text = till("dlq", "list")
    assert "1 handler-failed, 1 undecodable, 1 null-key" in text
    assert f"next: eventsrc dlq show {found['letters'][-1]['place']}" in text

    source = failed["source"]
    for place in (
        [failed["place"]],
        [f"account/{source['partition']}@{source['offset']}"],
        [said.split("(")[-1].split(")")[0]],  # as `send` prints CommandFailed.dead_letter
        ["partition", f"account/{source['partition']}", "at", "offset", str(source["offset"])],
    )[:3]:
        shown = till.json("dlq", "show", *place)
        assert shown["place"] == failed["place"]
        assert shown["traceback"].rstrip().endswith("ZeroDivisionError: the till is broken")
    text = till("dlq", "show", failed["place"])
    assert "Deposit(amount=5)" in text
    assert 'File "' in text
    assert f"next: eventsrc dlq retry {failed['place']}" in text

    (junk,) = waiting(till, "--reason", "undecodable")
    shown = till.json("dlq", "show", junk["place"])
    assert shown["headers"] == [{"name": "traceparent", "value": "00-1"}, {"name": "odd", "value_base64": "/w=="}]
    assert (shown["payload"], shown["value_base64"]) == (None, "/wBqdW5r")
    assert "ff00 6a75 6e6b" in till("dlq", "show", junk["place"])

    assert "is no place of a dead letter" in till("dlq", "show", "somewhere", exit_code=2)
    till("dlq", "show", "0@99999", exit_code=1)


def test_a_retry_takes_effect_once_in_order_and_leaves_a_trail(till: Till) -> None:
    till.break_it()
    for amount in (1, 2, 3):
        till.deposit("alice", amount)
    till.deposit("bob", 10)
    before = waiting(till)

    dry = till("dlq", "retry", "--all")
    assert dry.count("would be retried") == 5
    assert "nothing was changed" in dry
    assert waiting(till) == before
    assert "say which" in till("dlq", "retry", "--yes", exit_code=2)

    done = till.json("dlq", "retry", "--all", "--yes", "--why", "try")["done"]
    assert len(done) == 4
    till.settle()
    again = waiting(till)
    assert {each["attempt"] for each in again} == {2}
    places = [each["place"] for each in done]
    assert sorted(each["retry_of"] for each in again) == sorted(places)
    # in order for each id: a worker may come to either partition first
    of_alice = [each["retry_of"] for each in waiting(till, "--id", "alice")]
    assert of_alice == [place for place in places if place in of_alice]
    assert len(of_alice) == 3
    assert "attempt 2, of" in till("dlq", "list")

    till.mend()
    said = till("dlq", "retry", "--reason", "handler-failed", "--yes", "--why", "the till is mended")
    assert "4 retried" in said
    till.settle()
    assert till.amounts("alice") == [1, 2, 3]
    assert till.amounts("bob") == [10]
    assert waiting(till) == []
    assert set(sources_of_events(till).values()) == {1}
    assert "not shown: 8 retried (--all-states)" in till("dlq", "list")
    trail = till.json("dlq", "list", "--all-states")["letters"]
    assert len(trail) == 8
    last = next(each for each in trail if each["place"] == again[0]["place"])["audit"]
    assert (last["action"], last["why"]) == ("retried", "the till is mended")
    assert "@" in last["by"]
    assert last["sent"]["topic"] == till.commands
    assert "retried" in till("dlq", "show", again[0]["place"])
    assert "was retried already" in till("dlq", "retry", again[0]["place"], "--yes", exit_code=1)
    assert "no dead letter" in till("dlq", "list")


def test_order_is_kept_or_given_up_by_word(till: Till) -> None:
    till.break_it()
    till.deposit("alice", 1)
    till.deposit("alice", 2)
    till.deposit("bob", 7)
    till.mend()
    first, second, _ = waiting(till)
    assert "is not sent before it" in till("dlq", "retry", second["place"], exit_code=1)
    till.deposit("alice", 3)

    said = till("dlq", "retry", "--all", "--yes", exit_code=1)
    assert "a later command of this id took effect after it failed, up to sequence 1" in said
    assert "1 retried, 2 held back, 2 of them for the order alone" in said
    till.settle()
    assert (till.amounts("alice"), till.amounts("bob")) == ([3], [7])

    till("dlq", "retry", first["place"], "--out-of-order", "--yes")
    till.settle()
    assert till.amounts("alice") == [3, 1]
    held = till.json("dlq", "retry", second["place"], exit_code=1)["held"]
    assert held[0]["order"] is True  # the deposit of 3 came before it; the retried 1 did not
    assert "a later command of" in held[0]["why"]
    till("dlq", "retry", second["place"], "--out-of-order", "--yes")
    till.settle()
    assert till.amounts("alice") == [3, 1, 2]


def test_what_took_effect_meanwhile_is_not_sent_again(till: Till) -> None:
    till.break_it()
    till.deposit("alice", 1, "--idempotency-key", "k")
    till.mend()
    till.deposit("alice", 1, "--idempotency-key", "k")
    (letter,) = waiting(till)
    held = till.json("dlq", "retry", letter["place"], "--yes", "--out-of-order", exit_code=1)["held"]
    assert "has taken effect meanwhile: its events begin with sequence 1" in held[0]["why"]
    assert "dropped" in till("dlq", "drop", letter["place"], "--yes", "--why", "sent by hand")
    assert waiting(till) == []
    assert till.amounts("alice") == [1]
    dropped = till.json("dlq", "list", "--all-states")["letters"][0]
    assert (dropped["state"], dropped["audit"]["why"], dropped["audit"]["sent"]) == ("dropped", "sent by hand", None)


def test_what_can_never_work_is_held_and_dropped_by_filter(till: Till) -> None:
    producer = Producer({"bootstrap.servers": till.kafka})
    producer.produce(till.commands, b"value", None, 0)
    producer.produce(till.commands, None, b"alice", murmur2(b"alice", PARTITIONS))
    producer.flush(10)
    till.settle()
    said = till("dlq", "retry", "--all", "--yes", exit_code=1)
    assert "it has no key" in said
    assert "it has no value" in said
    (null_key,) = waiting(till, "--reason", "null-key")
    assert f"\nnext: eventsrc dlq drop {null_key['place']}\n" in till("dlq", "show", null_key["place"])
    assert "1 would be dropped; nothing was changed" in till("dlq", "drop", "--reason", "null-key")
    assert "1 dropped" in till("dlq", "drop", "--reason", "null-key", "--yes")
    assert [each["reason"] for each in waiting(till)] == ["null-value"]


def test_a_command_on_the_wrong_partition_goes_to_the_right_one(till: Till) -> None:
    till.deposit("alice", 1)
    reader = Reader(till.kafka)
    (command,) = reader.read(till.commands)
    reader.close()
    id = next(f"b{n}" for n in range(100) if murmur2(f"b{n}".encode(), PARTITIONS) != command.partition)
    producer = Producer({"bootstrap.servers": till.kafka})
    producer.produce(till.commands, command.value, id.encode(), command.partition)
    producer.flush(10)
    till.settle()
    (letter,) = waiting(till)
    assert letter["reason"] == "wrong-partition"
    sent = till.json("dlq", "retry", letter["place"], "--yes")["done"][0]["sent"]
    assert sent["partition"] != command.partition
    till.settle()
    assert till.amounts(id) == [1]


def test_what_its_topic_refuses_is_named_and_nothing_is_done(till: Till) -> None:
    till.break_it()
    till.deposit("alice", 1)
    till.deposit("bob", 1)
    till.mend()
    alter_topic(till.kafka, till.commands, {"max.message.bytes": "100"})  # room for a marker of a transaction
    process = till.start("dlq", "retry", "--all", "--yes")
    out, err = till.finish(process, 1)
    assert "0 retried of 2" in out
    assert "could not be written to" in err
    assert "Nothing of this transaction took effect" in err
    assert len(waiting(till)) == 2
    alter_topic(till.kafka, till.commands, {"max.message.bytes": "1048588"})
    till("dlq", "retry", "--all", "--yes")
    till.settle()
    assert (till.amounts("alice"), till.amounts("bob")) == ([1], [1])


COUNT = 2 * CHUNK_LETTERS + 30


def expect_each_once(till: Till) -> None:
    """Every letter has one audit record, and every command one effect."""
    till.settle()
    assert waiting(till) == []
    letters = till.json("dlq", "list", "--all-states", "--limit", "1000")["letters"]
    assert len(letters) == COUNT
    reader = Reader(till.kafka)
    audits = [each for each in reader.read(till.dead_letters) if dict(each.headers).get("eventsrc.audit")]
    commands = {(each.partition, each.offset): each for each in reader.read(till.commands)}
    reader.close()
    assert sorted((each.key or b"").decode() for each in audits) == sorted(each["place"] for each in letters)
    sent = [json.loads(each.value or b"")["sent"] for each in audits]
    assert all((each["partition"], each["offset"]) in commands for each in sent)
    assert len(commands) == 2 * COUNT
    effects = sources_of_events(till)
    assert (len(effects), set(effects.values())) == (COUNT, {1})
    for number in range(5):
        amounts = till.amounts(f"a{number}")
        assert amounts == [n for n in range(COUNT) if n % 5 == number]


@pytest.mark.parametrize("fault", ["letters-after-produce:2", "letters-after-commit:2"])
def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(till: Till, fault: str) -> None:
    till.fail(COUNT, 5)
    killed = till.start("dlq", "retry", "--all", "--yes", environ={"EVENTSRC_TEST_FAULT": fault})
    out, _ = till.finish(killed, -signal.SIGKILL)
    assert out.count("retried ") == CHUNK_LETTERS
    assert len(waiting(till)) == COUNT - CHUNK_LETTERS * (1 if fault.startswith("letters-after-produce") else 2)
    till("dlq", "retry", "--all", "--yes")
    expect_each_once(till)


def stopped(till: Till, *words: str) -> Any:
    """A command that stands still in the middle of its first transaction."""
    process = till.start(*words, environ={"EVENTSRC_TEST_FAULT": "letters-after-produce:1:stop"})
    wait_until(lambda: _is_stopped(process.pid), 60, "it stands still")
    return process


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_transaction_half_done(till: Till, number: signal.Signals) -> None:
    till.fail(COUNT, 5)
    process = stopped(till, "dlq", "retry", "--all", "--yes")
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    out, _ = till.finish(process, 130)
    assert f"{CHUNK_LETTERS:,} retried of {COUNT:,}" in out
    assert len(waiting(till)) == COUNT - CHUNK_LETTERS
    till("dlq", "retry", "--all", "--yes")
    expect_each_once(till)


def test_two_operators_at_once_do_not_send_twice(till: Till) -> None:
    till.fail(COUNT, 5)
    process = stopped(till, "dlq", "retry", "--all", "--yes")
    till("dlq", "retry", "--all", "--yes")
    os.kill(process.pid, signal.SIGCONT)
    _, err = till.finish(process, 1)
    assert "another process began to handle this group's dead letters" in err
    expect_each_once(till)


def test_an_audit_record_behind_an_open_transaction_is_seen(till: Till) -> None:
    """Else its letter would be sent twice: readers of committed records stop at what is undecided."""
    till.break_it()
    till.deposit("alice", 1)
    (letter,) = waiting(till)
    partition, offset = map(int, letter["place"].split("@"))
    place = LetterPlace(partition, offset)
    other = Producer({"bootstrap.servers": till.kafka, "transactional.id": f"other-{uuid.uuid4()}"})
    other.init_transactions(10)
    other.begin_transaction()
    other.produce(till.dead_letters, b"undecided", b"key", partition)
    other.flush(10)
    audit = Audit(place, "dropped", "me", datetime.now(UTC), "", Source("t", 0, 0))
    plain = Producer({"bootstrap.servers": till.kafka})
    plain.produce(till.dead_letters, audit.value(), audit.key, partition, headers=[*audit.headers])
    plain.flush(10)
    box = DeadLetterBox(Pipeline(till.name, partitions=PARTITIONS), Settings(bootstrap_servers=till.kafka))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(box.letters)
        with pytest.raises(TimeoutError):  # it waits, however long the transaction stays open
            reading.result(1.0)
        other.abort_transaction(30)
        found = reading.result(60)
    assert found.waiting() == []
    assert found.audits[place].by == "me"


def test_kafka_away_is_said_at_once(till: Till) -> None:
    for words in (("list",), ("show", "0@0"), ("retry", "--all", "--yes"), ("drop", "--all", "--yes")):
        said = till("dlq", *words, exit_code=3, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")
        assert "does not answer" in said


def test_its_transactional_id_is_no_workers() -> None:
    assert transactional_id("bank") == "bank.dlq"
