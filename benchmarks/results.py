"""What a benchmark found: a table for people, one JSON object for programs, and the same in a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write that object into FILE as well")


def tell(options: argparse.Namespace, found: Mapping[str, Any], table: Callable[[], None]) -> None:
    """As the options of `add_arguments` say."""
    encoded = json.dumps(found)
    if options.results is not None:
        options.results.write_text(f"{encoded}\n")
    if options.json:
        print(encoded)
    else:
        table()
