"""Matching gradients: what a network would learn from synthetic images is to be what it would learn from real ones.

For one network, the loss is the sum over classes y of the distance between two gradients of the cross entropy by all
weights: of the mean over real images of y, and of the mean over synthetic ones. The distance is the sum, over the
layers and over each layer's output filters (rows), of

    1 - <g, h> / (|g| |h| + 1e-6)

(Zhao, Mopuri and Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv:2006.05929; with one siamese
augmentation for both sides, Zhao and Bilen, ICML 2021, arXiv:2102.08259). Biases and the scales and shifts of norms,
tensors of one axis, do not count, as in the published code.

A gradient of a sum is a sum of gradients: sites can send theirs with the number of samples in it, and what the server
makes of them is exact. Gradients of few samples can be turned back into images (Zhu, Liu and Han, "Deep Leakage from
Gradients", 2019); nothing here prevents it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation, Operation, per_sample
from collab.compute import count, operations_of
from collab.matching import Descent, SyntheticSet, expand
from collab.nets import Network, NetworkSpec, full_layout, seeded_network
from simnet.draws import generator

_FIXED_POINT = 2.0**24
_NEVER_DIVIDE_BY_ZERO = 1e-6
_AT_ONCE = 256  # real images whose feature maps are in memory together


# -- gradients of real images ----------------------------------------------------------------------


def class_gradients(
    network: Network,
    images_of: Sequence[Tensor],
    classes: Sequence[int],
    augmentations: Sequence[Augmentation],
) -> Tensor:
    """For each class the sum, over its images, of the gradients of the cross entropy by all weights, [C, P].

    P weights in the order of `full_layout`, flattened. `images_of`: for each class its images, normalised
    [n_y, channels, side, side].
    """
    rows = [
        gradient_sum(network, augment(images), torch.full((len(images),), label))
        for images, label, augment in zip(images_of, classes, augmentations, strict=True)
    ]
    return torch.stack(rows)


def gradient_sum(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """The sum over images of the gradients of the cross entropy by all weights, flattened [P]."""
    weights = [weight.detach().requires_grad_() for weight in network.parameters()]
    total = torch.zeros(sum(weight.numel() for weight in weights), device=images.device, dtype=weights[0].dtype)
    for chunk, expected in zip(
        torch.split(images, _AT_ONCE), torch.split(labels.to(images.device), _AT_ONCE), strict=True
    ):
        loss = functional.cross_entropy(network.scores(chunk, weights), expected, reduction="sum")
        gradients = torch.autograd.grad(loss, weights)
        total += torch.cat([gradient.flatten() for gradient in gradients])
    count(len(images) * gradient_operations(network.spec))
    return total


class GradientSums:
    """Sums of the sites' gradients, [rows, P], and of how many samples are in each row.

    The sums are kept in fixed point, whole multiples of 2^-24, so they do not depend on the order in which uploads
    arrive; memory does not grow with the number of sites.
    """

    def __init__(self, rows: int, weights: int) -> None:
        self._sums = np.zeros((rows, weights), dtype=np.int64)
        self._counts = np.zeros(rows, dtype=np.int64)

    def add(
        self, rows: Sequence[int] | NDArray[np.int64], sums: NDArray[np.float32], counts: NDArray[np.int64]
    ) -> None:
        """Fold in one site's sums for some of the rows (each at most once)."""
        self._sums[rows] += np.rint(sums.astype(np.float64) * _FIXED_POINT).astype(np.int64)
        self._counts[rows] += counts

    def means(self) -> tuple[list[int], Tensor]:
        """The rows that hold any sample, and their mean gradients, float32."""
        held = np.flatnonzero(self._counts)
        means = self._sums[held] / (self._counts[held, None] * _FIXED_POINT)
        return held.tolist(), torch.from_numpy(means.astype(np.float32))


# -- matching them ---------------------------------------------------------------------------------


def layers(spec: NetworkSpec, flat: Tensor) -> list[Tensor]:
    """A flattened gradient [P] as tensors of the shapes of the weights."""
    layout = full_layout(spec)
    pieces = torch.split(flat, [parameter.size for parameter in layout])
    return [piece.reshape(parameter.shape) for piece, parameter in zip(pieces, layout, strict=True)]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """The distance of two gradients, a scalar: sum over layers and output filters of one minus the cosine."""
    total = torch.zeros((), device=ours[0].device, dtype=ours[0].dtype)
    for one, other in zip(ours, theirs, strict=True):
        if one.dim() == 1:
            continue
        g, h = one.flatten(1), other.flatten(1)
        lengths = g.norm(dim=1) * h.norm(dim=1)
        total = total + (1 - (g * h).sum(dim=1) / (lengths + _NEVER_DIVIDE_BY_ZERO)).sum()
    return total


def gradient_matching_loss(
    network: Network, images: Tensor, label: int, target: Tensor, augmentation: Augmentation
) -> Tensor:
    """The distance between the mean gradient of synthetic images of one class and `target` [P], a scalar.

    It can be followed back to the images, [n, channels, side, side], whole (not mosaics).
    """
    weights = [weight.detach().requires_grad_() for weight in network.parameters()]
    labels = torch.full((len(images),), label, device=images.device)
    loss = functional.cross_entropy(network.scores(augmentation(images), weights), labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    return distance(gradients, layers(network.spec, target))


def matched(
    descent: Descent,
    network: Network,
    classes: Sequence[int],
    targets: Tensor,
    augmentations: Sequence[Augmentation],
) -> Descent:
    """`descent` after one step along the gradient of the loss summed over classes, which have mean gradients
    `targets` [C, P]. Classes without images do not count; no class is no step.

    The loss is a sum over classes of which each depends on its own images: they take their turns, in little memory.
    """
    descent = descent.copy()
    synthetic = descent.synthetic
    slope = torch.zeros_like(synthetic.images)
    taken = 0
    for label, target, augmentation in zip(classes, targets, augmentations, strict=True):
        own = synthetic.labels == label
        if not bool(own.any()):
            continue
        images = synthetic.images[own].detach().requires_grad_()
        whole = expand(images, synthetic.expand)
        loss = gradient_matching_loss(network, whole, label, target.to(slope.device), augmentation)
        (slope[own],) = torch.autograd.grad(loss, images)
        count(len(whole) * matching_operations(network.spec))
        taken += 1
    if taken:
        descent.move(slope)
    return descent


def trained(
    network: Network,
    synthetic: SyntheticSet,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    strategy: Sequence[Operation],
    seed: int,
) -> Network:
    """A network after some epochs of plain SGD on a synthetic set, expanded if it is a mosaic.

    Batches are augmented with parameters of their own for each sample. `network` stays as it is.
    """
    whole = synthetic.expanded()
    draws = generator(seed, "training")
    weights = [weight.detach().clone() for weight in network.parameters()]
    for _ in range(epochs):
        order = torch.from_numpy(draws.permutation(len(whole.images)))
        for batch in torch.split(order, batch_size):
            images = per_sample(strategy, draws, len(batch))(whole.images[batch.to(whole.images.device)])
            current = Network(network.spec, weights, network.device)
            slopes = layers(network.spec, gradient_sum(current, images, whole.labels[batch]) / len(batch))
            weights = [weight - learning_rate * slope for weight, slope in zip(weights, slopes, strict=True)]
    return Network(network.spec, weights, network.device)


# -- what it costs -----------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def gradient_operations(spec: NetworkSpec) -> int:
    """Floating-point operations for one image's gradient by all weights, forward and back."""
    images, weights = _one_image(spec)
    return operations_of(lambda: torch.autograd.grad(_some_loss(spec, images, weights), weights))


@lru_cache(maxsize=32)
def matching_operations(spec: NetworkSpec) -> int:
    """Floating-point operations for one synthetic image's part in the matching loss and its gradient by the image."""
    images, weights = _one_image(spec)
    images.requires_grad_()

    def both_ways() -> None:
        gradients = torch.autograd.grad(_some_loss(spec, images, weights), weights, create_graph=True)
        torch.autograd.grad(distance(gradients, [torch.ones_like(gradient) for gradient in gradients]), images)

    return operations_of(both_ways)


def _one_image(spec: NetworkSpec) -> tuple[Tensor, list[Tensor]]:
    """An image, and weights that ask for gradients."""
    weights = [weight.requires_grad_() for weight in seeded_network(spec, 0).parameters()]
    return torch.zeros((1, spec.channels, spec.side, spec.side)), weights


def _some_loss(spec: NetworkSpec, images: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return Network(spec, weights).scores(images).logsumexp(dim=1).sum()
