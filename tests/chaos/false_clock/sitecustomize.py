"""Loaded by a process whose wall clock is false: its sleeps wait for an event instead.

The library that makes the clock false breaks the system call by which Python sleeps, and leaves the one by which it
waits.
"""

import threading
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    threading.Event().wait(float(seconds))


time.sleep = sleep
