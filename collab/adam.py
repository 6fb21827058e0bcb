"""Adam (Kingma and Ba, ICLR 2015, arXiv:1412.6980) as a pure function: new weights from old ones, nothing in place.

So a training run can be differentiated through, which torch's own optimisers do not allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_UNDER_THE_ROOT = 1e-24
"""Added to the second moment: the root has no derivative at 0, where weights that a network ignores stay for ever. Its
own root is a ten-thousandth of `epsilon`, so no step changes by more.
"""


@dataclass(frozen=True, slots=True)
class AdamState:
    """Moving averages of the gradients and of their squares, one tensor a weight, after `steps` steps."""

    first: Sequence[Tensor]
    second: Sequence[Tensor]
    steps: int = 0

    def detached(self) -> AdamState:
        """The same numbers without the way back to where they came from."""
        return AdamState([m.detach() for m in self.first], [v.detach() for v in self.second], self.steps)


@dataclass(frozen=True, slots=True)
class Adam:
    """The optimiser: w <- w - learning_rate m' / (sqrt(v') + epsilon), with m' and v' corrected for starting at 0."""

    learning_rate: float
    first_decay: float = 0.9
    second_decay: float = 0.999
    epsilon: float = 1e-8

    def start(self, weights: Sequence[Tensor]) -> AdamState:
        """The state before the first step."""
        return AdamState([torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights])

    def step(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], state: AdamState
    ) -> tuple[list[Tensor], AdamState]:
        """Weights and state after one step; both can be differentiated by the weights, the gradients and the state."""
        steps = state.steps + 1
        size = self.learning_rate / (1.0 - self.first_decay**steps)
        correction = (1.0 - self.second_decay**steps) ** -0.5
        moved, first, second = [], [], []
        for weight, gradient, m, v in zip(weights, gradients, state.first, state.second, strict=True):
            m_next = m * self.first_decay + gradient * (1.0 - self.first_decay)
            v_next = v * self.second_decay + gradient.square() * (1.0 - self.second_decay)
            root = (v_next + _UNDER_THE_ROOT).sqrt()
            moved.append(weight - size * m_next / (root * correction + self.epsilon))
            first.append(m_next)
            second.append(v_next)
        return moved, AdamState(first, second, steps)
