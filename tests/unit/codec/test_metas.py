"""The meta of a command, read by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventsrc.codec.metas import command_meta_alone
from eventsrc.model.recorded import CommandMeta
from tests.unit.engine.shop import ACCOUNT, Deposit, catalog

_ids = st.binary(min_size=16, max_size=16)
_longs = st.integers(-(1 << 63), (1 << 63) - 1)


@given(_ids, st.none() | _ids, st.none() | _ids, _longs, st.none() | st.integers(0, (1 << 31) - 1))
def test_it_is_what_the_compiled_writer_wrote(
    id: bytes, correlation: bytes | None, causation: bytes | None, time: int, reply: int | None
) -> None:
    value = catalog.command_writer(ACCOUNT, Deposit)(id, correlation, causation, time, reply, Deposit(5))
    assert command_meta_alone(value) == CommandMeta(id, correlation, causation, time, reply)


@given(st.binary(max_size=60))
def test_other_bytes_do_no_harm(value: bytes) -> None:
    for framed in (value, b"\xc3\x01" + value):
        command_meta_alone(framed)


def test_no_framing_and_an_early_end_are_told() -> None:
    assert command_meta_alone(b"no command at all") is None
    assert command_meta_alone(b"\xc3\x01" + b"\0" * 20) is None
