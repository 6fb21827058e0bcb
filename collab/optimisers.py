"""Optimisers as pure functions: new weights from old ones, nothing in place.

So a training run can be differentiated through, by its data and its step sizes, which torch's own optimisers do not
allow. Adam: Kingma and Ba, ICLR 2015, arXiv:1412.6980.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_UNDER_THE_ROOT = 1e-24
"""Added to the second moment: the root has no derivative at 0, where weights that a network ignores stay for ever. Its
own root is a ten-thousandth of `epsilon`, so no step changes by more.
"""

_LENGTH_MEMORY = 0.9


@dataclass(frozen=True, slots=True)
class OptimiserState:
    """What an optimiser remembers after `steps` steps: moving averages, each with one tensor a weight."""

    averages: Sequence[Sequence[Tensor]]
    steps: int = 0

    def tensors(self) -> list[Tensor]:
        """All averages in a row."""
        return [tensor for average in self.averages for tensor in average]

    def holding(self, tensors: Sequence[Tensor]) -> OptimiserState:
        """The same state with these in the place of `tensors()`."""
        left = iter(tensors)
        return OptimiserState([[next(left) for _ in average] for average in self.averages], self.steps)

    def detached(self) -> OptimiserState:
        """The same numbers without the way back to where they came from."""
        return self.holding([tensor.detach() for tensor in self.tensors()])


class Optimiser(Protocol):
    """Anything that steps."""

    def start(self, weights: Sequence[Tensor]) -> OptimiserState:
        """The state before the first step."""

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: OptimiserState,
        scale: Tensor | float = 1.0,
    ) -> tuple[list[Tensor], OptimiserState]:
        """Weights and state after one step, whose size is `scale` times the learning rate.

        Both can be differentiated by weights, gradients, state and scale.
        """


@dataclass(frozen=True, slots=True)
class Sgd:
    """w <- w - learning_rate g."""

    learning_rate: float

    def start(self, weights: Sequence[Tensor]) -> OptimiserState:
        """Nothing to remember."""
        return OptimiserState([])

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: OptimiserState,
        scale: Tensor | float = 1.0,
    ) -> tuple[list[Tensor], OptimiserState]:
        """See `Optimiser`."""
        size = self.learning_rate * scale
        moved = [weight - size * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        return moved, OptimiserState([], state.steps + 1)


@dataclass(frozen=True, slots=True)
class Adam:
    """w <- w - learning_rate m' / (sqrt(v') + epsilon), with m' and v' corrected for starting at 0."""

    learning_rate: float
    first_decay: float = 0.9
    second_decay: float = 0.999
    epsilon: float = 1e-8

    def start(self, weights: Sequence[Tensor]) -> OptimiserState:
        """Moving averages of the gradients and of their squares, all 0."""
        return OptimiserState([[torch.zeros_like(weight) for weight in weights] for _ in range(2)])

    def step(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: OptimiserState,
        scale: Tensor | float = 1.0,
    ) -> tuple[list[Tensor], OptimiserState]:
        """See `Optimiser`."""
        steps = state.steps + 1
        size = self.learning_rate / (1.0 - self.first_decay**steps) * scale
        correction = (1.0 - self.second_decay**steps) ** -0.5
        moved, first, second = [], [], []
        for weight, gradient, m, v in zip(weights, gradients, *state.averages, strict=True):
            m_next = m * self.first_decay + gradient * (1.0 - self.first_decay)
            v_next = v * self.second_decay + gradient.square() * (1.0 - self.second_decay)
            root = (v_next + _UNDER_THE_ROOT).sqrt()
            moved.append(weight - size * m_next / (root * correction + self.epsilon))
            first.append(m_next)
            second.append(v_next)
        return moved, OptimiserState([first, second], steps)


class LengthLimit:
    """Cuts gradients that are longer than `times` the moving average of their lengths (of 0.9 memory) to that length.

    As in RaT-BPTT (Feng, Vedantam and Kempe, ICLR 2024); the average is that of the lengths after the cut. None for no
    limit.
    """

    def __init__(self, times: float | None) -> None:
        self._times = times
        self._average: float | None = None

    def shortened(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The gradients, which are one vector in parts, within the limit; the first ones as they are."""
        length = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        limit = length if self._times is None or self._average is None else self._times * self._average
        kept = min(length, limit)
        memory = 0.0 if self._average is None else _LENGTH_MEMORY
        self._average = memory * (self._average or 0.0) + (1.0 - memory) * kept
        return list(gradients) if kept == length else [gradient * (kept / length) for gradient in gradients]
