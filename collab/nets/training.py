"""Networks as they are trained: norms that go by the batch, which weights a gradient changes, and what a step costs.

Most architectures are the same function in training and in use. One with batch norm has two more pure functions::

    def embed_batch(spec, parameters, images) -> tuple[Tensor, list[Statistics]]     # by the statistics of the batch
    def embed_observed(spec, parameters, images) -> tuple[Tensor, list[Statistics]]  # by the running ones, as `embed`

Both tell the mean and variance, over the batch, of what went into each norm. Its running statistics are weights in
the order of `full_layout`, mean before variance, norm after norm; they travel with the other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from collab.nets.network import Network
from collab.nets.spec import NetworkSpec, architecture_of, full_layout

_RUNNING = 0.1  # share of each batch in the running statistics, torch's own default


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of what goes into a norm: mean and (biased) variance [channels] over `count` values of each channel."""

    mean: Tensor
    variance: Tensor
    count: int

    @classmethod
    def of(cls, maps: Tensor) -> Statistics:
        """Those of maps [n, channels, side, side]."""
        variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        return cls(mean, variance, maps.numel() // maps.shape[1])


class BatchNormed(Protocol):
    """What the module of an architecture with batch norm offers beside the rest."""

    def embed_batch(
        self, spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor
    ) -> tuple[Tensor, list[Statistics]]:
        """Embeddings with norms by the statistics of the batch, and these."""

    def embed_observed(
        self, spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor
    ) -> tuple[Tensor, list[Statistics]]:
        """Embeddings with norms by the running statistics, and those of the batch."""


@lru_cache(maxsize=256)
def has_statistics(spec: NetworkSpec) -> bool:
    """Whether the network has norms that go by the batch."""
    return any(parameter.statistic for parameter in full_layout(spec))


def trained(network: Network) -> list[Tensor]:
    """The weights that gradients change."""
    layout = full_layout(network.spec)
    return [weight for weight, named in zip(network.parameters(), layout, strict=True) if not named.statistic]


def running(network: Network) -> list[Statistics]:
    """The running statistics of each norm."""
    layout = full_layout(network.spec)
    held = [weight for weight, named in zip(network.parameters(), layout, strict=True) if named.statistic]
    return [Statistics(mean, variance, 0) for mean, variance in zip(held[::2], held[1::2], strict=True)]


def training_scores(network: Network, images: Tensor) -> Tensor:
    """Class scores [n, classes] as a network is trained; batch norms go by the batch, which moves what runs along."""
    if not has_statistics(network.spec):
        return network.scores(images)
    module = cast("BatchNormed", architecture_of(network.spec))
    embeddings, batch = module.embed_batch(network.spec, network.parameters(), images)
    with torch.no_grad():
        for held, seen in zip(running(network), batch, strict=True):
            held.mean.lerp_(seen.mean, _RUNNING)
            held.variance.lerp_(seen.variance * (seen.count / max(seen.count - 1, 1)), _RUNNING)
    return _head(network, embeddings)


def observed_scores(network: Network, images: Tensor) -> tuple[Tensor, list[Statistics]]:
    """Class scores as a network is used, and the statistics, over the images, of what goes into each of its norms."""
    if not has_statistics(network.spec):
        return network.scores(images), []
    module = cast("BatchNormed", architecture_of(network.spec))
    embeddings, batch = module.embed_observed(network.spec, network.parameters(), images)
    return _head(network, embeddings), batch


def _head(network: Network, embeddings: Tensor) -> Tensor:
    weight, bias = network.parameters()[-2:]
    return functional.linear(embeddings, weight, bias)


@dataclass(frozen=True, slots=True)
class TrainingOperations:
    """Floating-point operations for one image, the head included.

    `forward` gives its scores; `to_weights` carries a gradient back from them to all weights, `to_image` to the pixels.
    """

    forward: int
    to_weights: int
    to_image: int


@lru_cache(maxsize=32)
def training_operations(spec: NetworkSpec) -> TrainingOperations:
    """By the formulas of torch's own counter: convolutions and matrix products, a multiply-add counts two.

    A layer takes as much again for the gradient of its weights, and as much for that of its input; the first layer is
    not asked for the latter when weights are trained.
    """
    architecture = architecture_of(spec)
    forward = architecture.forward_operations(spec) + 2 * spec.embedding_size * spec.classes
    return TrainingOperations(forward, 2 * forward - architecture.first_operations(spec), forward)
