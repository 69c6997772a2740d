"""What a supervisor does with workers that end: exact traces, with processes that exist only as a script."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator

import pytest

from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.report import PartitionReport, WorkerReport
from eventsrc.runtime.restarts import DELAYS_S, EXIT_FENCED, SHORT_LIFE_S, Restarts, how_it_ended
from eventsrc.runtime.supervisor import Progress, Supervisor
from eventsrc.runtime.worker_processes import EndAtOnce, Ended, Happened, Said, Signalled

NEVER = {EXIT_FENCED: "another process has its instance id now", 2: "the application or a setting is wrong"}
DRAIN = Signalled(signal.SIGTERM)


class Script:
    """What happens, and when: each step is a time and what comes then. It notes what the supervisor does, at which time."""

    def __init__(self, *steps: tuple[float, Happened | BaseException]) -> None:
        self.steps = list(steps)
        self.trace: list[tuple[float, str]] = []
        self.progress_shown: list[Progress] = []
        self.events: list[str] = []
        self.reports: list[WorkerReport] = []
        self.now = 0.0

    def start(self, instance: str) -> int:
        self.trace.append((self.now, f"start {instance}"))
        return len(self.trace)

    def terminate_all(self) -> None:
        self.trace.append((self.now, "terminate all"))

    def wait(self, timeout_s: float) -> Iterator[Happened]:
        assert self.steps, f"the supervisor waits for nothing: {self.trace}"
        until = self.now + timeout_s
        while self.steps and self.steps[0][0] <= until:
            self.now, happened = self.steps.pop(0)
            if isinstance(happened, BaseException):
                raise happened
            yield happened
            return
        self.now = until

    def log(self, instance: str, line: str) -> None:
        self.trace.append((self.now, f"{instance}: {line}"))

    def event(self, text: str, *, alarming: bool = False) -> None:
        self.events.append(text)

    def progress(self, progress: Progress) -> None:
        self.progress_shown.append(progress)


def supervised(script: Script, *instances: str) -> int:
    def reports() -> Iterable[WorkerReport]:
        return script.reports

    return Supervisor(script, instances or ("one",), NEVER, script, reports, lambda: script.now).run()


def test_a_killed_worker_is_started_again_at_once_under_its_id() -> None:
    script = Script(
        (60.0, Ended("two", -signal.SIGKILL)), (70.0, DRAIN), (70.5, Ended("one", 0)), (71.0, Ended("two", 0))
    )
    assert supervised(script, "one", "two") == 0
    assert script.trace == [(0.0, "start one"), (0.0, "start two"), (60.0, "start two"), (70.0, "terminate all")]
    assert "two was killed by SIGKILL after 60.0 s" in script.events
    assert script.progress_shown[-1].restarts == 1


def test_one_that_dies_again_and_again_waits_longer_each_time_and_says_why() -> None:
    script = Script(
        (1.0, Said("one", "ValueError: no")), (1.0, Ended("one", 1)),
        (2.0, Ended("one", 1)), (4.0, Ended("one", 1)), (7.0, Ended("one", 1)),
        (20.0, Ended("one", 1)),
        (21.0, DRAIN), (22.0, Ended("one", 0)),
    )  # fmt: skip
    assert supervised(script) == 0
    starts = [at for at, what in script.trace if what == "start one"]
    assert starts == [0.0, 1.0, 2.5, 5.0, 9.0, 20.0]  # a life of 11 s forgives the short ones before it
    assert "one ended with exit code 1 after 1.0 s; its last line: ValueError: no" in script.events
    assert "one ended with exit code 1 after 1.0 s, 2 times in a row; started again in 0.5 s" in script.events


def test_delays_grow_up_to_their_limit_and_begin_anew_after_a_long_life() -> None:
    restarts = Restarts({})
    assert [restarts.delay_after(1, 0.1) for _ in range(10)] == [*DELAYS_S, 30.0, 30.0]
    assert restarts.delay_after(1, SHORT_LIFE_S) == 0.0
    assert restarts.delay_after(-9, 0.1) == 0.0
    assert restarts.count == 12


@pytest.mark.parametrize(("code", "words"), [(EXIT_FENCED, "another process"), (2, "setting is wrong")])
def test_a_fenced_worker_and_one_with_a_wrong_setting_are_not_started_again(code: int, words: str) -> None:
    script = Script((1.0, Ended("one", code)), (2.0, Ended("two", code)))
    assert supervised(script, "one", "two") == code
    assert [what for _, what in script.trace] == ["start one", "start two"]
    assert [event for event in script.events if words in event and "not started again" in event] != []


def test_the_others_run_on_when_one_is_fenced_and_the_exit_code_tells() -> None:
    script = Script((1.0, Ended("one", EXIT_FENCED)), (2.0, Ended("two", -9)), (30.0, DRAIN), (31.0, Ended("two", 0)))
    assert supervised(script, "one", "two") == EXIT_FENCED
    assert [what for _, what in script.trace].count("start two") == 2


def test_a_worker_that_was_drained_by_hand_comes_back() -> None:
    script = Script((30.0, Ended("one", 0)), (40.0, DRAIN), (41.0, Ended("one", 0)))
    assert supervised(script) == 0
    assert [what for _, what in script.trace] == ["start one", "start one", "terminate all"]


@pytest.mark.parametrize(("code", "exit_code"), [(0, 0), (-signal.SIGTERM, 0), (1, 1), (3, 1), (-signal.SIGKILL, 1)])
def test_a_drain_is_complete_when_all_have_drained(code: int, exit_code: int) -> None:
    script = Script((9.0, DRAIN), (9.5, Ended("one", code)), (10.0, Ended("two", 0)))
    assert supervised(script, "one", "two") == exit_code
    assert [what for _, what in script.trace] == ["start one", "start two", "terminate all"]


def test_nobody_is_started_in_a_drain_who_waited_for_it() -> None:
    script = Script((0.1, Ended("one", 1)), (0.2, Ended("one", 1)), (0.3, DRAIN), (0.4, Ended("two", 0)))
    assert supervised(script, "one", "two") == 0
    assert [what for _, what in script.trace if what == "start one"] == ["start one"] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(number: signal.Signals, code: int) -> None:
    script = Script((9.0, DRAIN), (9.1, EndAtOnce(number)))
    assert supervised(script) == code


def report(instance: str, at_s: float, **positions: int) -> WorkerReport:
    partitions = tuple(
        PartitionReport(PartitionKey("a", int(name[1:])), "open", None, position, 0, 0, 0, None, 0.0, None)
        for name, position in positions.items()
    )
    return WorkerReport(instance, round(at_s * 1e6), 0.6, 2.0, None, None, partitions)


def test_progress_is_what_the_workers_that_run_now_say() -> None:
    script = Script((5.0, DRAIN), (5.0, Ended("one", 0)))
    script.reports = [report("one", 1.0, p0=100, p1=100), report("gone", 1.0, p2=5)]
    wait = script.wait

    def waiting(timeout_s: float) -> Iterator[Happened]:
        yield from wait(timeout_s)
        script.reports = [report("one", 1.0 + script.now, p0=100 + 50 * round(script.now), p1=100)]

    script.wait = waiting  # type: ignore[method-assign]  # the script goes on, and what is told with it
    assert supervised(script) == 0
    first, second, *_ = script.progress_shown
    assert first == Progress(1, 1, 0, False, 2, 2, 0, None)
    assert second == Progress(1, 1, 0, False, 2, 2, 0, 50.0)


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "drained by itself"), (3, "ended with exit code 3"), (-9, "was killed by SIGKILL"), (-250, "signal 250")],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert words in how_it_ended(code)
