"""Back-propagation through training: how the loss of a trained network changes with the synthetic data that trained it.

A network starts at some weights and takes N + M steps on a synthetic set; its loss on real data is differentiated
through the last M of them, the window, by the images, soft labels and step sizes. With M equal to all steps this is
full back-propagation through time; with a window and random N it is RaT-BPTT (Feng, Vedantam and Kempe, ICLR 2024).

Way forth and way back can be had apart: what the real data say of the trained weights may come from elsewhere.

The way back holds the graph of a single step at a time: the way forth keeps the weights and the optimiser's state
before each step of the window, and each step is taken again when its turn comes. Memory then grows with M by the size
of the weights alone (three times it for Adam), and not by the activations, for the price of a third more work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation, Operation, per_sample
from collab.compute import count
from collab.nets import Network, chunk_size, operations_per_image
from collab.optimisers import Optimiser, OptimiserState

PASSES_OF_A_STEP = 3
"""What a step of training costs, in forward passes of its images: one forth, two back (to the maps and the weights)."""

PASSES_OF_A_STEP_BACK = 9
"""What the way back through a step costs: the step again, and six for the gradient of the gradient."""


AUGMENTATIONS: frozenset[Operation] = frozenset({"flip", "rotate"})
"""Of a data set's strategy, what RaT-BPTT makes use of."""


@dataclass(frozen=True)
class Distillate:
    """Synthetic data that can be learned.

    Attributes:
        images: [n, channels, side, side].
        targets: what cross entropy compares with: labels int64 [n], or probabilities [n, classes].
        scales: of the step sizes, by the position of a step, [positions]; None for 1.
    """

    images: Tensor
    targets: Tensor
    scales: Tensor | None = None

    def variables(self) -> list[Tensor]:
        """What is learned: all of it but hard labels."""
        soft = [self.targets] if self.targets.is_floating_point() else []
        return [self.images, *soft, *([] if self.scales is None else [self.scales])]

    def holding(self, variables: Sequence[Tensor]) -> Distillate:
        """The same with these in the place of `variables()`."""
        left = iter(variables)
        changed = replace(self, images=next(left))
        if self.targets.is_floating_point():
            changed = replace(changed, targets=next(left))
        return changed if self.scales is None else replace(changed, scales=next(left))


@dataclass(frozen=True)
class Step:
    """One step of training: the rows that it uses, how they are augmented, and its position among the step sizes."""

    rows: Tensor
    augment: Augmentation = lambda images: images
    position: int = 0


@dataclass(frozen=True)
class Unrolled:
    """The loss of the trained network on real data, and the gradient by each of the distillate's variables."""

    loss: float
    gradients: list[Tensor]


@dataclass(frozen=True)
class WayForth:
    """Training that can be gone back.

    Attributes:
        weights: after the last step.
        state: of the optimiser after the last step.
        data: what the network was trained on.
        steps: those of the window.
        kept: weights and state before each of `steps`.
    """

    weights: list[Tensor]
    state: OptimiserState
    data: Distillate
    steps: Sequence[Step]
    kept: Sequence[tuple[Sequence[Tensor], OptimiserState]]


class Training:
    """Training of networks of one kind by one optimiser."""

    def __init__(self, network: Network, optimiser: Optimiser) -> None:
        self._network = network
        self._optimiser = optimiser
        self._forward = operations_per_image(network.spec).forward

    def run(
        self, weights: Sequence[Tensor], data: Distillate, steps: Sequence[Step], state: OptimiserState | None = None
    ) -> tuple[list[Tensor], OptimiserState]:
        """Weights and state after all steps, without the way back. Starts anew if there is no state yet."""
        now, state = list(weights), self._optimiser.start(weights) if state is None else state
        for step in steps:
            count(PASSES_OF_A_STEP * len(step.rows) * self._forward)
            now, state = self._detached_step(now, state, data, step)
        return now, state

    def unrolled(
        self,
        weights: Sequence[Tensor],
        data: Distillate,
        steps: Sequence[Step],
        window: int,
        images: Tensor,
        labels: Tensor,
    ) -> Unrolled:
        """Train from `weights` by `steps`, and differentiate the mean cross entropy on real `images`, [r, ...] with
        labels int64 [r], through the last `window` steps.
        """
        forth = self.forth(weights, data, steps, window)
        loss, gradients = self._loss_and_gradient(forth.weights, images, labels)
        return Unrolled(loss, self.back(forth, gradients))

    def forth(self, weights: Sequence[Tensor], data: Distillate, steps: Sequence[Step], window: int) -> WayForth:
        """Train from `weights` by `steps`, and keep what the way back through the last `window` of them needs."""
        before = max(len(steps) - window, 0)
        now, state = self.run(weights, data, steps[:before])
        kept = []
        for step in steps[before:]:
            kept.append((now, state))
            now, state = self.run(now, data, [step], state)
        return WayForth(now, state, data, steps[before:], kept)

    def back(self, forth: WayForth, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The vector-Jacobian product: from the gradients of some loss by the trained weights, of their shapes, to
        those by each of the distillate's variables.
        """
        adjoint = [*gradients, *(torch.zeros_like(tensor) for tensor in forth.state.tensors())]
        totals = [torch.zeros_like(variable) for variable in forth.data.variables()]
        for step, (weights, state) in zip(reversed(forth.steps), reversed(forth.kept), strict=True):
            adjoint, by_variables = self._step_back(weights, state, forth.data, step, adjoint)
            totals = [total + part for total, part in zip(totals, by_variables, strict=True)]
        return totals

    def _step(
        self,
        weights: Sequence[Tensor],
        state: OptimiserState,
        data: Distillate,
        step: Step,
        *,
        differentiable: bool,
    ) -> tuple[list[Tensor], OptimiserState]:
        scores = self._network.scores(step.augment(data.images[step.rows]), weights)
        loss = functional.cross_entropy(scores, data.targets[step.rows])
        gradients = torch.autograd.grad(loss, weights, create_graph=differentiable)
        scale = 1.0 if data.scales is None else data.scales[step.position]
        return self._optimiser.step(weights, gradients, state, scale)

    def _detached_step(
        self, weights: Sequence[Tensor], state: OptimiserState, data: Distillate, step: Step
    ) -> tuple[list[Tensor], OptimiserState]:
        fixed = data.holding([variable.detach() for variable in data.variables()])
        leaves = [weight.detach().requires_grad_() for weight in weights]
        moved, state = self._step(leaves, state.detached(), fixed, step, differentiable=False)
        return [weight.detach() for weight in moved], state.detached()

    def _step_back(
        self, weights: Sequence[Tensor], state: OptimiserState, data: Distillate, step: Step, adjoint: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """From the gradient by what a step yields to the gradients by what it began with and by the variables."""
        count(PASSES_OF_A_STEP_BACK * len(step.rows) * self._forward)
        given = [tensor.detach().requires_grad_() for tensor in (*weights, *state.tensors(), *data.variables())]
        held = len(weights) + len(state.tensors())
        moved, state_after = self._step(
            given[: len(weights)],
            state.holding(given[len(weights) : held]),
            data.holding(given[held:]),
            step,
            differentiable=True,
        )
        found = torch.autograd.grad(
            [*moved, *state_after.tensors()], given, list(adjoint), allow_unused=True, materialize_grads=True
        )
        return list(found[:held]), list(found[held:])

    def _loss_and_gradient(
        self, weights: Sequence[Tensor], images: Tensor, labels: Tensor
    ) -> tuple[float, list[Tensor]]:
        """Mean cross entropy and its gradient by the weights, a chunk of images at a time."""
        count(PASSES_OF_A_STEP * len(images) * self._forward)
        leaves = [weight.detach().requires_grad_() for weight in weights]
        total, gradients = leaves[0].new_zeros(()), [torch.zeros_like(leaf) for leaf in leaves]
        size = chunk_size(self._network.spec)
        for chunk, truth in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            loss = functional.cross_entropy(self._network.scores(chunk, leaves), truth, reduction="sum") / len(images)
            total += loss.detach()
            parts = torch.autograd.grad(loss, leaves)
            gradients = [gradient + part for gradient, part in zip(gradients, parts, strict=True)]
        return float(total), gradients


def balanced_batches(
    labels: Tensor, per_class: int, number: int, strategy: Sequence[Operation], draws: np.random.Generator
) -> list[Step]:
    """Steps on random batches of `per_class` rows of each class, or of all there are, augmented one by one."""
    held = labels.cpu().numpy()
    rows_of = [np.flatnonzero(held == label) for label in np.unique(held)]
    steps = []
    for _ in range(number):
        chosen = [
            rows if len(rows) <= per_class else np.sort(draws.choice(rows, per_class, replace=False))
            for rows in rows_of
        ]
        rows = torch.from_numpy(np.concatenate(chosen)).to(labels.device)
        steps.append(Step(rows, per_sample(strategy, draws, len(rows))))
    return steps
