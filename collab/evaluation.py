"""Judging a synthetic set: train fresh networks on it alone, test them on real data, report the last epoch.

The protocol of the paper and its code: SGD (0.01, momentum 0.9, weight decay 5e-4), batches of 256, augmentation with
parameters per sample; half-way the rate falls to a tenth and the momentum is forgotten. How many epochs, networks and
sets is a setting, see `collab.evaluation_settings`. No epoch is picked by its test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from collab.augment import Operation, per_sample
from collab.compute import CPU, Device, halved, report
from collab.confusion import MOST_CLASSES, Confusion
from collab.data import Dataset
from collab.evaluation_settings import EvaluationSettings
from collab.matching import SyntheticSet
from collab.methods import Predictor, Start
from collab.nets import (
    Embedder,
    Network,
    NetworkSpec,
    Stack,
    chunk_size,
    cross_entropies,
    seeded_network,
)
from collab.training import Sgd
from simnet.draws import generator, key

_PORTION = 512  # test images that are normalised together


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracies on the test data, 0 to 1, one a network trained: as many on each of `sets`, the first set's first.

    Deviations are those of the population (divided by n, not n - 1). `confusions` are what each of the networks took
    for what; none if the data has more classes than are counted.
    """

    values: tuple[float, ...]
    sets: int = 1
    confusions: tuple[Confusion, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over all networks."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation over all networks (0 for one)."""
        return float(np.std(self.values))

    @property
    def set_means(self) -> tuple[float, ...]:
        """The mean over the networks of each set."""
        return tuple(float(mean) for mean in np.reshape(self.values, (self.sets, -1)).mean(axis=1))

    @property
    def set_deviation(self) -> float | None:
        """Standard deviation over the means of the sets; None if there is one set only."""
        return float(np.std(self.set_means)) if self.sets > 1 else None

    @classmethod
    def joined(cls, accuracies: Sequence[Accuracy]) -> Accuracy:
        """Those of several sets as one. Raises `ValueError` unless each has as many values."""
        if len({len(accuracy.values) // accuracy.sets for accuracy in accuracies}) != 1:
            raise ValueError("accuracies of sets with different numbers of networks cannot be joined")
        values = tuple(value for accuracy in accuracies for value in accuracy.values)
        confusions = tuple(each for accuracy in accuracies for each in accuracy.confusions)
        return cls(values, sum(accuracy.sets for accuracy in accuracies), confusions)


def evaluate(
    synthetic: SyntheticSet,
    dataset: Dataset,
    spec: NetworkSpec,
    settings: EvaluationSettings,
    seed: int,
    device: Device = CPU,
    start: Start | None = None,
) -> Accuracy:
    """Train `settings.repeats` networks of `spec` on the set (expanded if it is a mosaic) and test each.

    They are freshly drawn, or start near the weights that `start` gives.
    """
    expanded = synthetic.expanded()
    images, labels = expanded.images.to(device.torch), expanded.labels.to(device.torch)
    strategy = dataset.spec.augmentation if settings.augment else ()
    found: list[Accuracy] = []
    together = settings.repeats
    while len(found) < settings.repeats:
        repeats = range(len(found), min(len(found) + together, settings.repeats))
        stack = Stack.of([_fresh(spec, seed, repeat, device, start) for repeat in repeats])
        try:
            _train(stack, images, labels, strategy, settings, [_training_seed(seed, repeat) for repeat in repeats])
        except torch.OutOfMemoryError:
            together = halved(len(repeats), "networks at once")
            continue
        found += [tested(stack.network(index), dataset, spec, device) for index in range(len(stack))]
    return replace(Accuracy.joined(found), sets=1)


def trained(
    synthetic: SyntheticSet,
    spec: NetworkSpec,
    strategy: Sequence[Operation],
    settings: EvaluationSettings,
    seed: int,
    device: Device = CPU,
) -> Network:
    """The first of the networks that `evaluate` trains on the set (expanded if it is a mosaic) with this seed.

    Batches are augmented by `strategy`; of `settings` only those of the training count.
    """
    expanded = synthetic.expanded()
    stack = Stack.of([_fresh(spec, seed, 0, device, None)])
    images, labels = expanded.images.to(device.torch), expanded.labels.to(device.torch)
    _train(stack, images, labels, strategy, settings, [_training_seed(seed, 0)], doing="training")
    return stack.network(0)


def _training_seed(seed: int, repeat: int) -> int:
    return key(seed, "evaluation", "training", repeat)


def _fresh(spec: NetworkSpec, seed: int, repeat: int, device: Device, start: Start | None) -> Network:
    if start is None:
        return seeded_network(spec, key(seed, "evaluation", "network", repeat), device)
    return start.network_near(key(seed, "evaluation", "near", repeat), device)


def _train(
    stack: Stack,
    images: Tensor,
    labels: Tensor,
    strategy: Sequence[Operation],
    settings: EvaluationSettings,
    seeds: Sequence[int],
    doing: str = "judging",
) -> None:
    """Train all networks of a stack at once; each draws its own batches and augmentations."""
    draws = [generator(seed, "batches") for seed in seeds]
    optimiser = _optimiser(stack, settings, settings.learning_rate)
    for epoch in range(settings.epochs):
        if epoch == settings.epochs // 2 + 1:  # a new one has forgotten the momentum
            optimiser = _optimiser(stack, settings, settings.learning_rate * 0.1)
        orders = [torch.from_numpy(each.permutation(len(images))).to(images.device) for each in draws]
        for batches in zip(*(torch.split(order, settings.batch_size) for order in orders), strict=True):
            size = len(batches[0])
            augmented = torch.stack(
                [per_sample(strategy, each, size)(images[batch]) for each, batch in zip(draws, batches, strict=True)]
            )
            wanted = labels[torch.stack(batches)]
            gradients = stack.gradients(
                augmented,
                lambda scores, networks, samples: (
                    cross_entropies(scores, wanted[networks, samples]) / size  # noqa: B023
                ),
            )
            optimiser.step(gradients)
        report(doing, epoch + 1, settings.epochs)


def _optimiser(stack: Stack, settings: EvaluationSettings, learning_rate: float) -> Sgd:
    return Sgd(stack.parameters, learning_rate, settings.momentum, settings.weight_decay)


def tested(network: Predictor, dataset: Dataset, spec: NetworkSpec, device: Device) -> Accuracy:
    """What a network of the size of `spec` makes of the test data.

    Its accuracy is the share of samples of which it gives the label the highest score.
    """
    test, classes = dataset.test, dataset.spec.classes
    predicted = _predictions(network, dataset, spec, device)
    correct = int((predicted == test.labels).sum())
    countable = classes <= MOST_CLASSES
    confusions = (Confusion.of(test.labels, predicted, classes, test.sites),) if countable else ()
    return Accuracy((correct / len(test.labels),), confusions=confusions)


@torch.no_grad()
def _predictions(network: Predictor, dataset: Dataset, spec: NetworkSpec, device: Device) -> NDArray[np.int64]:
    """The class of the highest score of each test sample, [n]."""
    images = dataset.test.images
    portions = (
        dataset.spec.normalise(images[first : first + _PORTION], device.torch)
        for first in range(0, len(images), _PORTION)
    )
    return np.concatenate([scores_of(network, each, spec).argmax(dim=1).cpu().numpy() for each in portions])


@torch.no_grad()
def scores_of(network: Predictor, images: Tensor, spec: NetworkSpec) -> Tensor:
    """Class scores [n, classes] of normalised images, by a network of the size of `spec`, in pieces that fit it."""
    if isinstance(network, Network):
        weight, bias = network.parameters()[-2:]
        scores = [functional.linear(piece, weight, bias) for piece in Embedder(network).pieces(images)]
    else:
        scores = [network.scores(chunk) for chunk in torch.split(images, chunk_size(spec))]
    return torch.cat(scores)


__all__ = ["Accuracy", "EvaluationSettings", "evaluate", "scores_of", "tested", "trained"]
