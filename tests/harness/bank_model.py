"""The bank's rules written a second time, over plain dicts: what its events must be, and where the money is.

An oracle for `bank.py`; knows only message names and fields, as they stand on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

State = dict[str, Any]
Drafts = list[tuple[str, dict[str, Any]]]
NEW: State = {"balance": 0, "deposits": 0, "withdrawals": 0}


class Faulty(Exception):  # noqa: N818 - a verdict, not an error: the application's handler fails on this command
    """The handler raises for this command: it belongs among the dead letters."""


def fold(state: State, name: str, body: Mapping[str, Any]) -> State:
    if name == "Deposited":
        return {**state, "balance": state["balance"] + body["amount"], "deposits": state["deposits"] + 1}
    if name == "Withdrawn":
        return {**state, "balance": state["balance"] - body["amount"], "withdrawals": state["withdrawals"] + 1}
    raise KeyError(name)


def decide(state: State, name: str, body: Mapping[str, Any]) -> Drafts | None:
    """The events, in order; None: rejected. Raises `Faulty`."""
    if name == "Deposit":
        return [("Deposited", {"amount": body["amount"]})]
    if name == "DepositInParts":
        return [("Deposited", {"amount": body["amount"]})] * int(body["parts"])
    if name == "Withdraw":
        return None if body["amount"] > state["balance"] else [("Withdrawn", {"amount": body["amount"]})]
    if name in ("SlowDeposit", "SlowOnce"):
        return [("Deposited", {"amount": body["amount"]})]
    if name == "Audit":
        return []
    raise Faulty(name)


def worth(name: str, body: Mapping[str, Any]) -> int:
    """What a command adds to the total of all balances when it is applied."""
    if name in ("Deposit", "SlowDeposit", "SlowOnce"):
        return int(body["amount"])
    if name == "DepositInParts":
        return int(body["amount"]) * int(body["parts"])
    return -int(body["amount"]) if name == "Withdraw" else 0
