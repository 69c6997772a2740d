"""Folding made histories, here and in a process of another hash seed: the encoded state after each event.

`python -m eventsrc.testing.folding` folds what comes on stdin and answers on stdout, both as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventsrc.codec.catalog import Catalog
from eventsrc.engine.fold import PartitionFold
from eventsrc.errors import EventsrcError
from eventsrc.testing.importing import environment, imported

if TYPE_CHECKING:
    from eventsrc.model.pipeline import Pipeline

_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class MadeHistory:
    """Events of one id of an aggregate (by its kebab-case name), as they would stand in its topic: keys and values.
    `decided`: by commands, so that it can come about; made-up events may be in an order that cannot."""

    aggregate: str
    key: bytes
    records: tuple[tuple[bytes, bytes], ...]
    decided: bool = False


States = list[bytes | str]
"""After each event; a text says why a state cannot be encoded, and is the last."""


def fold_states(catalog: Catalog, pipeline: Pipeline, history: MadeHistory, *, restored: bool = False) -> States:
    """Canonical encodings. `restored`: after each event the state goes through the bytes that a checkpoint keeps."""
    aggregate = pipeline.aggregates[history.aggregate]
    write, keep, read = (
        catalog.state_writer(aggregate),
        catalog.snapshot_writer(aggregate),
        catalog.state_reader(aggregate),
    )
    fold = PartitionFold(aggregate, catalog, highest_term=0, applied={0: 0})
    states: States = []
    for offset, (key, value) in enumerate(history.records):
        try:
            fold.feed(offset, key, value, 0)
            left = fold.live[history.key]
            states.append(write(left))
        except EventsrcError as failed:
            states.append(str(failed))
            break
        if restored:
            fold.live[history.key] = again = aggregate.new(history.key)
            again._eventsrc_sequence, again._eventsrc_memory = left._eventsrc_sequence, left._eventsrc_memory
            read(keep(left), again)
    return states


class FoldProcess:
    """One process that imports the application under a hash seed and folds; several run beside each other."""

    def __init__(self, app: str, hash_seed: int, histories: Sequence[MadeHistory]) -> None:
        self.hash_seed = hash_seed
        asked = {
            "app": app,
            "histories": [
                [each.aggregate, _text(each.key), [[_text(key), _text(value)] for key, value in each.records]]
                for each in histories
            ],
        }
        with tempfile.TemporaryFile() as question:  # not a pipe: it is not to wait until it is this one's turn
            question.write(json.dumps(asked).encode())
            question.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(PYTHONHASHSEED=str(hash_seed)),
            )

    def states(self) -> list[States]:
        """Of each history. Raises EventsrcError that says why it could not be done."""
        try:
            answer, errors = self._process.communicate(timeout=_ANSWER_S)
        except subprocess.TimeoutExpired:
            self.end()
            raise EventsrcError(
                f"a process with PYTHONHASHSEED={self.hash_seed} took longer than {_ANSWER_S:g} s"
            ) from None
        if self._process.returncode != 0:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise EventsrcError(f"a process with PYTHONHASHSEED={self.hash_seed} failed: {last}")
        return [[_bytes(each[1]) if each[0] else each[1] for each in states] for states in json.loads(answer)]

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the application prints when it is imported is no answer
    asked = json.load(sys.stdin)
    pipeline = imported(asked["app"])
    catalog = Catalog(pipeline, None)
    histories = [
        MadeHistory(aggregate, _bytes(key), tuple((_bytes(one), _bytes(other)) for one, other in records))
        for aggregate, key, records in asked["histories"]
    ]
    states = [fold_states(catalog, pipeline, each) for each in histories]
    with out:
        json.dump([[[isinstance(each, bytes), _shown(each)] for each in of] for of in states], out)


def _shown(state: bytes | str) -> str:
    return _text(state) if isinstance(state, bytes) else state


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


if __name__ == "__main__":
    main()
