"""Tasks of test_engines.py, in a module that worker processes can import."""

import os
import signal
import time
from pathlib import Path


def square(n):
    return n * n


def where(name):
    return os.getpid(), os.environ.get(name), os.environ.get("OMP_NUM_THREADS")


def deadly(task):
    n, folder = task
    marker = Path(folder) / f"begun-{n}"
    if n == 5 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def always_deadly(_):
    os.kill(os.getpid(), signal.SIGKILL)


def failing(n):
    if n == 3:
        raise ZeroDivisionError("three")
    return n


def nap(seconds):
    time.sleep(seconds)
    return seconds
