"""The demo's check must be able to fail: every way in which a log can be wrong is planted, and must be found."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from eventsrc.codec import schema_files
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.keys import barrier_key
from eventsrc.model.identity import command_id_for
from examples.bank.app import pipeline
from examples.bank.check import UNANSWERED, Record, Sent, check, read_schemas

TERM = 3
Schemas = dict[int, Any]
Run = tuple[list[Sent], list[Record], Schemas]


def sent(account: str, key: str, name: str, body: dict[str, Any], *answer: Any) -> Sent:
    return Sent(account, key, name, body, *answer)


# One account's commands, with the answers that are right: two take effect once more each, one is refused.
COMMANDS = [
    sent("ada", "open", "Open", {"owner": "Ada"}, "ok", 1, False),
    sent("ada", "1", "Deposit", {"amount": 500}, "ok", 2, False),
    sent("ada", "2", "Withdraw", {"amount": 200}, "ok", 3, False),
    sent("ada", "2", "Withdraw", {"amount": 200}, "ok", 3, True),
    sent("ada", "3", "Withdraw", {"amount": 900}, "rejected", None, False),
    sent("ada", "4", "Deposit", {"amount": 7}, "ok", 4, False),
]
EVENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("open", "Opened", {"owner": "Ada"}),
    ("1", "Deposited", {"amount": 500}),
    ("2", "Withdrawn", {"amount": 200}),
    ("4", "Deposited", {"amount": 7}),
]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """The files that the product itself writes."""
    directory: Path = tmp_path_factory.mktemp("schemas")
    schema_files.export(directory, Catalog(pipeline, directory).schemas())
    return read_schemas(directory)


def event(schemas: Schemas, sequence: int, key: str, name: str, body: dict[str, Any], **meta: Any) -> Record:
    """An event as another Avro library writes it."""
    fingerprint, schema = next(each for each in schemas.items() if each[1]["name"] == f"bank.account.{name}")
    of_meta = {
        "command_id": command_id_for("bank", "account", "ada", key), "correlation_id": None, "causation_id": None,
        "source_offset": sequence, "index": 0, "count": 1, "time": 1_700_000_000_000_000, "payload_hash": b"8 bytes.",
        **meta,
    }  # fmt: skip
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, {"meta": of_meta, **body})
    value = b"\xc3\x01" + fingerprint.to_bytes(8, "little") + out.getvalue()
    return Record(0, TERM + sequence, b"ada@%d#%d" % (sequence, TERM), value)


@pytest.fixture
def run(schemas: Schemas) -> Run:
    """A run in which everything is right."""
    import uuid

    log = [Record(0, TERM, barrier_key(uuid.UUID(int=7)), b"")]
    log += [event(schemas, number, *what) for number, what in enumerate(EVENTS, 1)]
    return list(COMMANDS), log, schemas


def test_a_right_run_has_no_problem(run: Run) -> None:
    verdict = check(*run)
    assert verdict.problems == []
    assert (verdict.accounts, verdict.events) == (1, 4)
    assert (verdict.deposited, verdict.withdrawn, verdict.balance) == (507, 200, 307)


def test_other_runs_in_the_same_log_are_left_alone(run: Run) -> None:
    orders, log, schemas = run
    stranger = log[2]._replace(key=b"bob@9#3", offset=90)
    assert check(orders, [*log, stranger], schemas).problems == []


def duplicated(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log, log[2]._replace(offset=50)]


def applied_twice(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log, event(schemas, 5, "1", "Deposited", {"amount": 500})]


def lost(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:3], *log[4:]]


def lost_at_the_end(log: list[Record], schemas: Schemas) -> list[Record]:
    return log[:-1]


def altered(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:2], event(schemas, 2, "1", "Deposited", {"amount": 501}), *log[3:]]


def of_another_kind(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:3], event(schemas, 3, "2", "Deposited", {"amount": 200}), *log[4:]]


def of_another_command(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:2], event(schemas, 2, "3", "Deposited", {"amount": 500}), *log[3:]]


def refused_and_applied(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log, event(schemas, 5, "3", "Withdrawn", {"amount": 900})]


def reordered(log: list[Record], schemas: Schemas) -> list[Record]:
    return [log[0], log[1], log[3]._replace(offset=log[2].offset), log[2]._replace(offset=log[3].offset), log[4]]


def half(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:-1], event(schemas, 4, "4", "Deposited", {"amount": 7}, count=2)]


def deposed(log: list[Record], schemas: Schemas) -> list[Record]:
    """Its writer was deposed: a newer barrier stands before it."""
    return [*log[:-1], log[0]._replace(offset=log[-1].offset - 1), log[-1]]


def unreadable(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:-1], log[-1]._replace(value=(log[-1].value or b"")[:-1])]


def trailing(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:-1], log[-1]._replace(value=(log[-1].value or b"") + b"\0")]


def unknown(log: list[Record], schemas: Schemas) -> list[Record]:
    return [*log[:-1], log[-1]._replace(value=b"\xc3\x01" + b"8 bytes." + b"\0")]


@pytest.mark.parametrize(
    ("plant", "problem"),
    [
        (duplicated, "sequence 2 stands twice: partition 0 offset 5 and partition 0 offset 50"),
        (applied_twice, "sequence 5, partition 0 offset 8: no command asked for Deposited {'amount': 500}"),
        (lost, "sequence 3, Withdrawn, is nowhere in the log"),
        (lost_at_the_end, "sequence 4, Deposited, is nowhere in the log"),
        (altered, "is Deposited {'amount': 501}, but Deposited {'amount': 500} was asked for"),
        (of_another_kind, "is Deposited {'amount': 200}, but Withdrawn {'amount': 200} was asked for"),
        (of_another_command, "by another command"),
        (refused_and_applied, "no command asked for Withdrawn {'amount': 900}"),
        (reordered, "sequence 2, partition 0 offset 6: stands after sequence 3"),
        (half, "half of a command, event 0 of 2"),
        (deposed, "its term 3 is not that of the last barrier"),
        (unreadable, "partition 0 offset 7: cannot be read"),
        (trailing, "partition 0 offset 7: has bytes after its end"),
        (unknown, "partition 0 offset 7: not an event of a known schema"),
    ],
)
def test_a_planted_fault_is_found(
    run: Run, plant: Callable[[list[Record], Schemas], list[Record]], problem: str
) -> None:
    orders, log, schemas = run
    problems = check(orders, plant(log, schemas), schemas).problems
    assert any(problem in each for each in problems), problems


@pytest.mark.parametrize("plant", [duplicated, applied_twice, lost, lost_at_the_end, altered, refused_and_applied])
def test_money_that_does_not_add_up_is_found(run: Run, plant: Callable[[list[Record], Schemas], list[Record]]) -> None:
    orders, log, schemas = run
    problems = check(orders, plant(log, schemas), schemas).problems
    assert any(each.startswith("money: 507 cents") for each in problems), problems


def test_a_balance_below_zero_is_found(run: Run) -> None:
    orders, log, schemas = run
    problems = check(orders, refused_and_applied(log, schemas), schemas).problems
    assert "account ada: -593 cents after sequence 5" in problems


@pytest.mark.parametrize(
    ("number", "answer", "told"),
    [
        (1, ("OutcomeUnknown: no answer came", None, False), "OutcomeUnknown: no answer came, not ok at sequence 2"),
        (1, ("rejected", None, False), "rejected, not ok at sequence 2"),
        (3, ("ok", 4, False), "ok at sequence 4, not ok at sequence 3 as a duplicate"),
        (4, ("ok", 4, False), "ok at sequence 4, not rejected"),
    ],
)
def test_a_wrong_answer_is_found(run: Run, number: int, answer: tuple[str, int | None, bool], told: str) -> None:
    orders, log, schemas = run
    orders[number] = Sent(*orders[number][:4], *answer)
    problems = check(orders, log, schemas).problems
    assert any(each.endswith(f"was answered {told}") for each in problems), problems


def test_an_answer_may_be_lost_if_the_command_is_sent_again(run: Run) -> None:
    orders, log, schemas = run
    answered = orders[1]
    orders[1] = answered._replace(answer=UNANSWERED, sequence=None)
    twice = [*orders, answered._replace(duplicate=True)]
    verdict = check(twice, log, schemas)
    assert (verdict.problems, verdict.deposited, verdict.balance) == ([], 507, 307)
    problems = check([*twice[:-1], answered], log, schemas).problems
    assert any("not ok at sequence 2 as a duplicate" in each for each in problems), problems


def test_a_command_that_was_never_answered_is_found(run: Run) -> None:
    orders, log, schemas = run
    orders[4] = orders[4]._replace(answer=UNANSWERED)
    (problem,) = check(orders, log, schemas).problems
    assert problem.endswith("was never answered")
