"""Runs a program and reaps, at once, what it orphans: what a good init does for monit.

monit's engines are no children of its own. Where init is slow to reap them, a killed one stays a
zombie and monit waits a cycle longer; that would be the machine's fault, not monit's.
"""

import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36


def main():
    """Ends as the program ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        return 1
    child = os.fork()
    if child == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0x7F


if __name__ == "__main__":
    sys.exit(main())
