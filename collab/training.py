"""Training networks on labelled images: gradient descent, and plain classification of what one site holds.

The optimiser is torch's own rule, written out because importing torch's takes longer than a small run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation
from collab.compute import count
from collab.data import ImageSpec, SiteData
from collab.errors import RunFailedError
from collab.nets import Network
from collab.nets.training import has_statistics, trained, training_operations, training_scores

_AT_ONCE = 256  # images that go through a network together when a batch is larger

AugmentationOf = Callable[[np.random.Generator, int], Augmentation]
"""Draws what happens to a batch of so many images."""


class Sgd:
    """Gradient descent with momentum on `parameters`, in place: v <- m v + g + d w; w <- w - lr v."""

    def __init__(
        self, parameters: Sequence[Tensor], learning_rate: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self._parameters = parameters
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._velocities = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Follow the gradients downhill by one step."""
        for parameter, gradient, velocity in zip(self._parameters, gradients, self._velocities, strict=True):
            velocity.mul_(self._momentum).add_(gradient).add_(parameter, alpha=self._weight_decay)
            parameter.sub_(velocity, alpha=self._learning_rate)


@dataclass(frozen=True, slots=True)
class LocalTraining:
    """How a site trains a classifier on its own data: cross entropy, by stochastic gradient descent.

    `batch_size` is None for all data at once. `pull` is the mu of FedProx: to the loss comes
    mu / 2 ||w - w_0||^2, where w_0 are the weights before the first step.
    """

    epochs: int
    batch_size: int | None
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    pull: float = 0.0


def train_on_site(
    network: Network,
    data: SiteData,
    images: ImageSpec,
    training: LocalTraining,
    draws: np.random.Generator,
    augmentation_of: AugmentationOf | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train `network`, in place, on all that a site holds; pixels stay uint8 until a batch is used.

    Args:
        network: its weights are changed.
        data: at least one sample.
        images: by which pixels are normalised; the data set's own, or another.
        training: how.
        draws: shuffles the samples anew in every epoch, and draws augmentations.
        augmentation_of: what happens to a batch; nothing if not given.
        on_epoch: is told how many epochs are done.

    Raises `RunFailedError` if the weights end as something else than numbers.
    """
    parameters = trained(network)
    anchors = [parameter.detach().clone() for parameter in parameters] if training.pull > 0 else []
    optimiser = Sgd(parameters, training.learning_rate, training.momentum, training.weight_decay)
    labels = torch.from_numpy(data.labels)
    size = len(data) if training.batch_size is None else training.batch_size
    for epoch in range(training.epochs):
        order = draws.permutation(len(data))
        for start in range(0, len(data), size):
            batch = order[start : start + size]
            augment = None if augmentation_of is None else augmentation_of(draws, len(batch))
            pixels = images.normalise(data.images[batch], network.device.torch)
            known = labels[torch.from_numpy(batch)].to(network.device.torch)
            gradients = classification_gradients(network, pixels if augment is None else augment(pixels), known)
            for gradient, parameter, anchor in zip(gradients, parameters, anchors, strict=False):
                gradient.add_(parameter - anchor, alpha=training.pull)
            optimiser.step(gradients)
        if on_epoch is not None:
            on_epoch(epoch + 1)
    for name, weights in network.named().items():
        if not torch.isfinite(weights).all():
            raise RunFailedError(
                f"the training of a network diverged: {name} holds numbers that are not finite; lower its learning rate"
            )


def classification_gradients(network: Network, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Gradients of the mean cross entropy of a batch by all weights that are trained, in their order.

    A batch that is too large to keep all that its gradient needs goes through in parts, unless a norm couples them.
    """
    cost = training_operations(network.spec)
    count(len(images) * (cost.forward + cost.to_weights))
    leaves = with_gradients(network)
    parameters = trained(leaves)
    sums: list[Tensor] = []
    part_size = len(images) if has_statistics(network.spec) else _AT_ONCE
    for part in range(0, len(images), part_size):
        scores = training_scores(leaves, images[part : part + part_size])
        loss = functional.cross_entropy(scores, labels[part : part + part_size], reduction="sum") / len(images)
        gradients = torch.autograd.grad(loss, parameters)
        sums = [total + more for total, more in zip(sums, gradients, strict=True)] if sums else list(gradients)
    return sums


def with_gradients(network: Network) -> Network:
    """The same network, on the same memory, whose trained weights ask for gradients."""
    leaves = Network(network.spec, [weight.detach() for weight in network.parameters()], network.device)
    for weight in trained(leaves):
        weight.requires_grad_()
    return leaves
