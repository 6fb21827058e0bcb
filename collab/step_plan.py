"""In which order a server follows the networks of several epochs, and with what share of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from simnet.draws import generator

Schedule = Literal["cosine", "constant"]


def step_order(seeds: Sequence[int], epochs: int) -> list[tuple[int, int]]:
    """(epoch, iteration) of each step: every network once an epoch, at first in order, then in a drawn one.

    Drawn anew for each epoch, so that no network is always the last to be followed, with the most say in the result.
    """
    plan = [(0, iteration) for iteration in range(len(seeds))]
    for epoch in range(1, epochs):
        order = generator(seeds[0], "epoch", epoch).permutation(len(seeds)) if seeds else np.empty(0, np.int64)
        plan += [(epoch, int(iteration)) for iteration in order]
    return plan


def share_of_rate(schedule: Schedule, step: int, steps: int) -> float:
    """What the schedule leaves of the learning rate at a step, from 0: for cosine (1 + cos(pi step / steps)) / 2."""
    return 1.0 if schedule == "constant" else (1 + math.cos(math.pi * step / steps)) / 2
