"""Judging a synthetic set: train fresh networks on it alone, test them on real data, report the last epoch.

The protocol of the paper and its code: SGD (0.01, momentum 0.9, weight decay 5e-4), batches of 256, augmentation with
parameters per sample; half-way the rate falls to a tenth and the momentum is forgotten. The paper trains 1,001
epochs, and 20 networks on each of 5 sets; here that is a setting. No epoch is picked by its test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from collab.augment import per_sample
from collab.compute import CPU, Device, report
from collab.data import Dataset
from collab.matching import SyntheticSet
from collab.methods import Predictor, Start
from collab.nets import ArchitectureName, Network, NetworkSpec, chunk_size, seeded_network
from simnet.draws import generator, key


class EvaluationSettings(BaseModel):
    """How a synthetic set is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    networks: tuple[ArchitectureName, ...] = Field(
        ("convnet",), min_length=1, description="architectures to train and test"
    )
    width: int | None = Field(None, ge=1, description="filters per block; the method's width if not given")
    epochs: int = Field(1001, ge=1, description="passes over the synthetic set")
    repeats: int = Field(1, ge=1, description="freshly initialised networks, of which the mean is reported")
    batch_size: int = Field(256, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    augment: bool = Field(True, description="augment the training batches by the data set's strategy")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracies on the test data, 0 to 1, one a network trained."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the networks."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation over the networks (0 for one)."""
        return float(np.std(self.values))


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
    values = []
    for repeat in range(settings.repeats):
        if start is None:
            network = seeded_network(spec, key(seed, "evaluation", "network", repeat), device)
        else:
            network = start.network_near(key(seed, "evaluation", "near", repeat), device)
        _train(network, images, labels, dataset, settings, key(seed, "evaluation", "training", repeat))
        values.append(tested(network, dataset, spec, device))
        report("judging", repeat + 1, settings.repeats)
    return Accuracy(tuple(values))


def _train(
    network: Network,
    images: Tensor,
    labels: Tensor,
    dataset: Dataset,
    settings: EvaluationSettings,
    seed: int,
) -> None:
    draws = generator(seed, "batches")
    strategy = dataset.spec.augmentation if settings.augment else ()
    parameters = [parameter.requires_grad_() for parameter in network.parameters()]
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    learning_rate = settings.learning_rate
    for epoch in range(settings.epochs):
        if epoch == settings.epochs // 2 + 1:
            learning_rate *= 0.1
            velocities = [torch.zeros_like(parameter) for parameter in parameters]
        order = torch.from_numpy(draws.permutation(len(images))).to(images.device)
        for batch in torch.split(order, settings.batch_size):
            augmented = per_sample(strategy, draws, len(batch))(images[batch])
            loss = functional.cross_entropy(network.scores(augmented), labels[batch])
            gradients = torch.autograd.grad(loss, parameters)
            _sgd(parameters, gradients, velocities, learning_rate, settings)


@torch.no_grad()
def _sgd(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocities: Sequence[Tensor],
    learning_rate: float,
    settings: EvaluationSettings,
) -> None:
    for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
        velocity.mul_(settings.momentum).add_(gradient).add_(parameter, alpha=settings.weight_decay)
        parameter.sub_(velocity, alpha=learning_rate)


@torch.no_grad()
def tested(network: Predictor, dataset: Dataset, spec: NetworkSpec, device: Device) -> float:
    """The share of the test data of which a network of the size of `spec` gives its label the highest score."""
    correct = 0
    size = chunk_size(spec)
    for start in range(0, len(dataset.test), size):
        chunk = slice(start, start + size)
        images = dataset.spec.normalise(dataset.test.images[chunk], device.torch)
        predicted = network.scores(images).argmax(dim=1).cpu().numpy()
        correct += int((predicted == dataset.test.labels[chunk]).sum())
    return correct / len(dataset.test)
