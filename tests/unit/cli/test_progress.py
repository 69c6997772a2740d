"""The bar of a long replay: on a terminal alone."""

from __future__ import annotations

import io

import pytest

from eventsrc.cli.progress import ProgressBar, bar_line
from eventsrc.runtime.replaying import ReplayProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_share_rate_and_time_left() -> None:
    line = bar_line(ReplayProgress(820_000, 1_000_000, 1_200_000), 3.0)
    assert line == f"  {'#' * 31}{'.' * 7}   82%   1.2 M events, 400.0 k/s, 0.7 s left"


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (ReplayProgress(0, 100, 0), "0 events"),
        (ReplayProgress(0, 0, 0), "100%   0 events"),
        (ReplayProgress(9, 5, 7), "100%"),
    ],
)
def test_nothing_yet_and_more_than_expected(progress: ReplayProgress, expected: str) -> None:
    assert expected in bar_line(progress, 1.0)


def test_it_is_gone_when_it_ends() -> None:
    terminal = Terminal()
    with ProgressBar(terminal) as bar:
        bar.show(ReplayProgress(1, 2, 3))
    assert terminal.getvalue().split("\r")[-1] == ""
    assert terminal.getvalue().split("\r")[-2].strip() == ""


def test_a_file_gets_nothing() -> None:
    file = io.StringIO()
    with ProgressBar(file) as bar:
        bar.show(ReplayProgress(1, 2, 3))
    assert file.getvalue() == ""
