"""What can keep a local server from starting, as one error with its mend. Must not know which command asked."""

from __future__ import annotations

from eventsrc.errors import Unreachable


class StackUnavailable(Unreachable):
    """A local server could not be provided. `mend` is what to do about it, one sentence; `str` has both."""

    def __init__(self, problem: str, mend: str) -> None:
        self.problem = problem
        self.mend = mend
        super().__init__(f"{problem}\n  next: {mend}")


# What a server writes to its log when the machine, not the server, is at fault: fragment -> mend.
_MENDS = {
    "No space left on device": "free some disk space, or give another --state-dir",
    "Address already in use": "another program took the port meanwhile: start again",
    "Cannot allocate memory": "free some memory: Kafka needs about 400 MB",
    "insufficient memory for the Java Runtime": "free some memory: Kafka needs about 400 MB",
    "UnsupportedClassVersionError": "Kafka needs Java 17 or newer: set JAVA_HOME, or pip install 'eventsrc[local]'",
    "Permission denied": "make the state directory writable for this user, or give another --state-dir",
    "Too many open files": "raise the limit with `ulimit -n 4096`",
    "incompatible with server": "the data is of another Postgres version: start with --fresh to begin anew",
}


def server_failed(server: str, log_tail: str, log: object) -> StackUnavailable:
    """The error for a server that ended before it was ready, its mend read from the end of its log."""
    tail = log_tail.strip()
    mend = next((mend for fragment, mend in _MENDS.items() if fragment in tail), f"read {log}")
    last_lines = "\n    ".join(tail.splitlines()[-8:])
    return StackUnavailable(f"{server} did not start:\n    {last_lines or 'it wrote nothing to its log'}", mend)
