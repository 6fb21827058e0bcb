"""Meta-learning of a synthetic set: the images move so that the networks trained on them do well on the real data.

One outer step: a fresh network trains on the synthetic images for N + M steps of Adam, N at random; the gradient of the
cross entropy of real images by the trained weights is found wherever those images are; the way back through the last M
steps makes of it the gradient by the synthetic images (the vector-Jacobian product of `collab.unrolling`), which
Adam follows. With N = 0 this is back-propagation through time, with N uniform on 0 ... T - M it is RaT-BPTT (Feng,
Vedantam and Kempe, ICLR 2024, arXiv:2311.07025).

N is drawn anew for every step; the published code draws it once in a pass over the data. Labels are hard, step sizes
are not learned, images are not whitened. Mosaics are cut and enlarged before the training, and the way back goes
through that, too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from collab.augment import Operation
from collab.errors import RunFailedError
from collab.gradient_matching import layers
from collab.matching import SyntheticSet, expand
from collab.nets import Network
from collab.optimisers import Adam, LengthLimit
from collab.unrolling import Distillate, Training, WayForth, balanced_batches
from simnet.draws import generator


class InnerSettings(Protocol):
    """What of a method's settings decides about the training on the synthetic set."""

    @property
    def window(self) -> int:
        """M, the steps that are differentiated through."""

    @property
    def longest(self) -> int:
        """T, the largest number of steps."""

    @property
    def batch_per_class(self) -> int:
        """Synthetic images of each class in a step."""

    @property
    def inner_learning_rate(self) -> float:
        """That of Adam."""


@dataclass(frozen=True)
class Attempt:
    """A network trained on a synthetic set, and how it came to be."""

    network: Network
    training: Training
    forth: WayForth


def unrolled(
    network: Network, synthetic: SyntheticSet, settings: InnerSettings, strategy: Sequence[Operation], seed: int
) -> Attempt:
    """Train from the weights of `network`, which stays as it is, on class-balanced batches, augmented one by one.

    Raises `RunFailedError` if the weights diverge.
    """
    whole = synthetic.expanded()
    draws = generator(seed, "unroll")
    before = int(draws.integers(settings.longest - settings.window + 1))
    steps = balanced_batches(whole.labels, settings.batch_per_class, before + settings.window, strategy, draws)
    training = Training(network, Adam(settings.inner_learning_rate))
    forth = training.forth(network.parameters(), Distillate(whole.images, whole.labels), steps, settings.window)
    if not all(bool(torch.isfinite(weight).all()) for weight in forth.weights):
        raise RunFailedError(
            f"a network diverges within {len(steps)} steps on the synthetic set; lower "
            "method.meta_learning.inner_learning_rate or method.meta_learning.outer_learning_rate"
        )
    return Attempt(Network(network.spec, forth.weights, network.device), training, forth)


class OuterDescent:
    """Adam on the images of a synthetic set; gradients much longer than usual are cut to size.

    `clip` is the longest gradient in lengths of its moving average; None for no limit.
    """

    def __init__(self, synthetic: SyntheticSet, learning_rate: float, clip: float | None) -> None:
        self.synthetic = synthetic
        self._optimiser = Adam(learning_rate)
        self._state = self._optimiser.start([synthetic.images])
        self._limit = LengthLimit(clip)

    def moved(self, gradient: Tensor) -> OuterDescent:
        """The descent after a step along `gradient`, of the images' shape; this one stays as it is."""
        further = copy.copy(self)
        further._limit = copy.copy(self._limit)
        shortened = further._limit.shortened([gradient])
        (images,), further._state = self._optimiser.step([self.synthetic.images], shortened, self._state)
        further.synthetic = SyntheticSet(images, self.synthetic.labels, self.synthetic.expand)
        return further


def image_gradient(synthetic: SyntheticSet, attempt: Attempt, gradient: Tensor) -> Tensor:
    """The gradient by the images of `synthetic`, mosaics as they are, from that by the trained weights, flat [P]."""
    trained = attempt.forth.weights
    outer = layers(attempt.network.spec, gradient.to(trained[0]))
    (by_whole,) = attempt.training.back(attempt.forth, outer)
    if synthetic.expand == 1:
        return by_whole
    images = synthetic.images.detach().requires_grad_()
    (by_images,) = torch.autograd.grad(expand(images, synthetic.expand), images, by_whole)
    return by_images


def stepped(descent: OuterDescent, attempt: Attempt, gradient: Tensor) -> OuterDescent:
    """`descent` after one outer step; `gradient` is that of the mean real loss by the trained weights, flattened [P].

    Raises `RunFailedError` if the way back overflows.
    """
    found = image_gradient(descent.synthetic, attempt, gradient)
    if not bool(torch.isfinite(found).all()):
        raise RunFailedError(
            f"the way back through {len(attempt.forth.steps)} steps of training is not finite; lower "
            "method.meta_learning.window or method.meta_learning.inner_learning_rate"
        )
    return descent.moved(found)
