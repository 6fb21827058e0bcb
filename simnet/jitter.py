"""Jitter: how far the delay of a message deviates from the propagation delay, by a named distribution.

Modelled: one independent draw a message and link, on top of the link's latency. Not modelled: deviations that last
(a radio that is bad for a second delays every message of that second); a capacity schedule is nearer to those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

JitterDistribution = Literal["uniform", "normal", "exponential", "pareto"]
JITTER_DISTRIBUTIONS: tuple[str, ...] = get_args(JitterDistribution)
NEVER_EARLY: tuple[JitterDistribution, ...] = ("exponential", "pareto")
"""Distributions that only ever delay, so that their spread may exceed the latency."""

PARETO_SHAPE = 3.0
"""Tail index: the smallest whole number with a finite variance, so that a mean over messages settles."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """The jitter of one link.

    What `spread_s` means depends on the `distribution`:
        uniform: the deviation is uniform on [-spread_s, +spread_s].
        normal: it has mean 0 and standard deviation spread_s.
        exponential: a message is late by an exponential delay of mean spread_s, never early.
        pareto: late by a Pareto (type II, Lomax) delay of mean spread_s and tail index 3: mostly little, seldom much.
    """

    spread_s: float
    distribution: JitterDistribution = "uniform"

    def draw_s(self, draws: np.random.Generator) -> float:
        """The deviation of one message on this link, in seconds."""
        match self.distribution:
            case "uniform":
                return draws.uniform(-self.spread_s, self.spread_s)
            case "normal":
                return draws.normal(0.0, self.spread_s)
            case "exponential":
                return draws.exponential(self.spread_s)
            case "pareto":  # numpy's Lomax has the mean 1 / (shape - 1)
                return self.spread_s * (PARETO_SHAPE - 1) * draws.pareto(PARETO_SHAPE)


def still() -> float:
    """The deviation where there is no jitter."""
    return 0.0


def drawer(
    jitters: Sequence[Jitter], latency_s: float, generator: Callable[[], np.random.Generator]
) -> Callable[[], float]:
    """Draws of a message's total deviation from `latency_s` along a path with these jitters.

    No message is early by more than the latency, however the draws fall. `generator` is called only if there is
    something to draw: a path without jitter costs nothing.
    """
    if not jitters:
        return still
    draws = generator()
    return lambda: max(sum(jitter.draw_s(draws) for jitter in jitters), -latency_s)
