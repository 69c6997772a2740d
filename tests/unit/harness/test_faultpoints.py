"""Fault points: exact, loud about mistakes, and free when nothing is armed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import timeit

import pytest

from eventsrc import faultpoints

PROGRAM = """
from eventsrc.faultpoints import reach
for passing in range(1, 6):
    print(passing, flush=True)
    reach("before-produce")
    reach("after-commit")
"""


def run(fault: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EVENTSRC_TEST_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def test_kills_at_the_nth_passing_and_says_so() -> None:
    ended = run("after-commit:3")
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["1", "2", "3"]
    assert ended.stderr == "fault point after-commit reached 3: SIGKILL\n"


def test_stops_and_continues() -> None:
    environment = {**os.environ, "EVENTSRC_TEST_FAULT": "before-produce:2:stop"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=20)
        assert output.split() == ["1", "2", "3", "4", "5"]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "text", ["nowhere:1", "after-commit", "after-commit:0", "after-commit:x", "after-commit:1:sleep"]
)
def test_a_fault_that_could_never_happen_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="EVENTSRC_TEST_FAULT"):
        faultpoints.arm(text)


def test_unarmed_it_costs_next_to_nothing() -> None:
    faultpoints.arm("")
    fastest = min(timeit.repeat(lambda: faultpoints.reach("after-commit"), number=10_000, repeat=5)) / 10_000
    assert fastest < 2e-6
