"""Processes that end with the one that started them, however that one ends (Linux).

Also a program: ``python child.py PARENT_PID COMMAND...`` becomes the command, bound to its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LINUX = "linux"


def end_with_parent(parent: int | None = None) -> None:
    """Ask the kernel for SIGTERM when the parent's thread that started this process ends.

    Args:
        parent: Expected parent; when it is gone already, exit at once.

    Raises:
        OSError: The kernel refused.
    """
    if not sys.platform.startswith(_LINUX):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG) failed: {os.strerror(code)}")
    if parent is not None and os.getppid() != parent:
        sys.exit(f"the parent process {parent} ended before its child began")


def main(arguments: list[str]) -> None:
    parent, *command = arguments
    end_with_parent(int(parent))
    os.execvp(command[0], command)  # noqa: S606 - that is what this program is for


if __name__ == "__main__":
    main(sys.argv[1:])
