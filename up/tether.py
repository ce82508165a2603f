"""Become a program that dies with its launcher: `tether.py LAUNCHER_PID PROGRAM [ARGUMENT ...]`.

On Linux the kernel sends SIGKILL to this process (it keeps its pid through exec) when the launcher's main thread ends,
even by `kill -9`. Elsewhere there is no such thing: there an orderly end still ends every child, and after a
`kill -9` of the launcher the children stay; the next `make up` then names the port that they hold.

Runs on its own, without the product or any package, so that it costs a few milliseconds.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to the launcher, then become the program."""
    launcher, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The launcher may have ended before the line above: then nothing would ever tell us.
    if os.getppid() != launcher:
        sys.exit("the launcher has ended")
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
