"""What a command says on stderr beside its logs: plain words for people, and log lines where logs are JSON."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("eventsrc.cli")


def tell(text: str, level: int = logging.INFO) -> None:
    """`level`: what it is as a log line."""
    if logs_are_json():
        logger.log(level, "%s", text.strip())
    else:
        print(text, file=sys.stderr, flush=True)


def logs_are_json() -> bool:
    """Where what would tell is not imported, nothing was configured."""
    logs = sys.modules.get("eventsrc.runtime.logs")
    return logs is not None and bool(logs.is_json())
