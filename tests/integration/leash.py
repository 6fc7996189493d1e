"""
Becomes a Python program that is told to stop when whoever started it has gone.

A test run that is killed leaves no servers behind: ``python leash.py -m uvicorn ...``.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2): Linux only, as is the rest of these tests

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
