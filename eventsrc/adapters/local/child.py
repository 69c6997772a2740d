"""Ties a process's life to its parent's: what a child process does first.

Workers of a supervisor call `tie_to_parent`. Servers, which are programs of others, are started through this file: as
a script for `python -I -S` it ties its own life, takes its account, and becomes the server (a `preexec_fn` would run
Python between fork and exec of a process that may have threads). Must not import anything of ours.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to_parent(parent: int, death_signal: int) -> bool:
    """This process gets the signal when its parent's thread that started it ends, however it ends (Linux; elsewhere
    nothing is tied). False where the parent has ended already: then there is nothing to go on for."""
    if sys.platform == "linux":
        import ctypes  # a worker that nobody supervises starts without it

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    return os.getppid() == parent


def main(arguments: list[str]) -> None:
    parent, death_signal, account, *command = arguments
    if sys.platform == "linux":
        import ctypes  # noqa: F401 - the other account may have no right to read it
    if account != "-":
        user, group = account.split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    if not tie_to_parent(int(parent), int(death_signal)):  # after the change of user, which would clear it
        sys.exit("the parent ended meanwhile")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and an exec would pass that on
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
