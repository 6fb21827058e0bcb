"""Functions for engines to run: workers import them by their names."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from collab.document import PlacedError


def process_and(value):
    return os.getpid(), value


def total(array):
    return float(array.sum())


def overwritten(array):
    """The sum of an array, which is then changed in place."""
    before = float(array.sum())
    array[:] = -1
    return before


def threads_and_modules():
    return torch.get_num_threads(), "ray" in sys.modules


def killed_once(mark):
    """Killed when it runs for the first time; says how often it began."""
    with Path(mark).open("a") as file:
        file.write("x")
    if len(Path(mark).read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(Path(mark).read_text())


def killed(mark):
    with Path(mark).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(code):
    os._exit(code)


def takes_too_much():
    return np.empty(1 << 50, np.uint8)


def takes_too_much_in_torch():
    return torch.empty(1 << 50)


def misplaced():
    raise PlacedError("not here", "compute", 3)


def unportable():
    class OwnError(Exception):
        pass

    raise OwnError("of a function")


def for_ever(mark):
    Path(mark).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def sleeps_with(array, mark):
    for_ever(mark)


def computes_with(array, mark):
    """Busy for ever, most of the time without giving other threads a turn."""
    Path(mark).write_text(str(os.getpid()))
    while True:
        sorted(array.tolist(), key=abs)


def says_where(mark):
    Path(mark).write_text(str(os.getpid()))
