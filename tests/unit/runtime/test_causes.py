"""Events that name no cause are told by their first bytes alone."""

from __future__ import annotations

import pytest

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.framing import registry_prefix
from eventsrc.runtime.causes import _names_a_cause
from tests.harness.travel import Added, pipeline


@pytest.mark.parametrize("correlation", [None, b"r" * 16, bytes(16)])
@pytest.mark.parametrize("cause", [None, b"c" * 16, bytes(16)])
def test_by_the_bytes_of_the_contract(correlation: bytes | None, cause: bytes | None) -> None:
    write = Catalog(pipeline, None).event_writer(pipeline.aggregates["basket"], Added)
    value = write(b"i" * 16, correlation, cause, 7, 0, 1, 1, bytes(8), Added("", 0))
    assert _names_a_cause(value) == (cause is not None)
    assert _names_a_cause(registry_prefix(7) + value[10:]) == (cause is not None)


@pytest.mark.parametrize("value", [b"", b"\xc3\x01short", b"\x00\x00\x00\x00\x07short", b"\x01" + bytes(60)])
def test_what_is_not_known_so_is_decoded(value: bytes) -> None:
    assert _names_a_cause(value)
