"""The first thing a server process runs: ties its life to its parent's, takes its account, becomes the server.

A script for `python -I -S`, on purpose: a `preexec_fn` would run Python between fork and exec of a process that may
have threads. Must not import anything of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, account, *command = arguments
    if account != "-":
        user, group = account.split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    if sys.platform == "linux":
        # After the change of user, which clears it. It counts the death of the parent's thread that started us.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended meanwhile")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and an exec would pass that on
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
