"""The server's part of distribution matching: a synthetic set, from where it starts, toward everybody's class means.

It starts from what the sites distilled, or from noise, of which no site has sent anything. One step follows the means
under one seeded network.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from collab.augment import Augmentation, Operation, siamese
from collab.compute import Device, report
from collab.data import ImageSpec
from collab.matching import Descent, Moments, SyntheticSet, follow
from collab.nets import Network, NetworkSpec, reseeded, seeded_network
from collab.step_plan import Schedule, share_of_rate, step_order
from simnet.draws import generator


class AugmentationSettings(Protocol):
    """What of a method's settings decides about augmentations."""

    def strategy(self, images: ImageSpec) -> tuple[Operation, ...]:
        """The augmentations in use."""


class RefinementSettings(AugmentationSettings, Protocol):
    """What of a method's settings decides about the refinement."""

    @property
    def server_epochs(self) -> int:
        """E, the steps for each network."""

    @property
    def augmentations(self) -> int:
        """A, the means per network."""

    @property
    def learning_rate(self) -> float:
        """Of the images."""

    @property
    def learning_rate_schedule(self) -> Schedule:
        """What becomes of it over all steps."""

    @property
    def momentum(self) -> float:
        """Of the images."""

    @property
    def step(self) -> Literal["joint", "per-class"]:
        """One step along the sum over classes, or one for each."""

    @property
    def synthetic_batch_size(self) -> int | Literal["all"]:
        """The images of each class that a step matches."""

    def network(self, images: ImageSpec) -> NetworkSpec:
        """The network that embeds such images."""


class Targets(Protocol):
    """Where the class means of the sites are."""

    def target(self, iteration: int, present: Sequence[int], augmentation: int = 0) -> Moments:
        """The mean embeddings at one iteration, of those classes in `present` that some site held."""


def noise_set(images: ImageSpec, classes: Sequence[int], images_per_class: int, factor: int, seed: int) -> SyntheticSet:
    """Images of standard normal noise in normalised space, which tell nothing of anybody's data.

    The noise of a class is the same whatever the other classes are. With a factor above 1 the images count as mosaics.
    """
    shape = (images_per_class, images.channels, images.side, images.side)
    noise = [
        torch.from_numpy(generator(seed, "initial", "noise", label).standard_normal(shape, dtype=np.float32))
        for label in classes
    ]
    labels = np.repeat(np.asarray(classes, dtype=np.int64), images_per_class)
    return SyntheticSet(torch.cat([torch.zeros((0, *shape[1:])), *noise]), torch.from_numpy(labels), factor)


def class_augmentations(
    settings: AugmentationSettings, images: ImageSpec, network_seed: int, classes: Sequence[int], number: int = 0
) -> list[Augmentation]:
    """The siamese augmentation of each class under one network, one of A: the same at every site and at the server."""
    strategy = settings.strategy(images)
    again = (number,) if number else ()
    return [siamese(strategy, generator(network_seed, "augment", label, *again)) for label in classes]


class Refined(NamedTuple):
    """A set that was refined, and its matching loss before each step; NaN where no class could be matched."""

    synthetic: SyntheticSet
    losses: Sequence[float]


def refine(
    initial: SyntheticSet,
    sums: Targets,
    seeds: Sequence[int],
    settings: RefinementSettings,
    images: ImageSpec,
    device: Device,
) -> Refined:
    """One step of the synthetic set for each network and epoch, toward the mean embeddings of the sites."""
    refinement = Refinement(initial, settings, images, device)
    plan = step_order(seeds, settings.server_epochs)
    networks = reseeded(refinement.network, [seeds[iteration] for _, iteration in plan])
    losses = []  # brought over from the device at the end: asking for one number waits for all work
    for step, ((epoch, iteration), network) in enumerate(zip(plan, networks, strict=True)):
        number = epoch % settings.augmentations
        target = sums.target(iteration, refinement.classes, number)
        share = share_of_rate(settings.learning_rate_schedule, step, len(plan))
        losses.append(refinement.follow(network, seeds[iteration], target, number, share))
        report("server refines", step + 1, len(plan))
    return Refined(refinement.synthetic(), torch.stack(losses).tolist() if losses else ())


class Refinement:
    """The server's synthetic set on its way, one step for each network."""

    def __init__(self, initial: SyntheticSet, settings: RefinementSettings, images: ImageSpec, device: Device) -> None:
        synthetic = SyntheticSet(initial.images.to(device.torch), initial.labels, initial.expand)
        self.classes = synthetic.classes()
        """The classes that the set has images of."""
        self._descent = Descent(synthetic, settings.learning_rate, settings.momentum)
        self.network = seeded_network(settings.network(images), 0, device)
        """A network of the right size, which takes other weights for each step."""
        self._settings = settings
        self._images = images
        self._steps = 0

    def step(self, network_seed: int, target: Moments, number: int = 0, share_of_rate: float = 1.0) -> None:
        """One step toward the mean embeddings `target` under the network of a seed; none if there is no class.

        `number` is that of the augmentation, `share_of_rate` what a schedule leaves of the learning rate.
        """
        self.follow(self.network.reseed(network_seed), network_seed, target, number, share_of_rate)

    def follow(
        self, network: Network, network_seed: int, target: Moments, number: int = 0, share_of_rate: float = 1.0
    ) -> Tensor:
        """As `step`, with the network of the seed at hand; returns the loss before it, a scalar, NaN if no class is."""
        if not target.classes:
            return torch.full((), torch.nan, device=network.device.torch)
        augmentations = class_augmentations(self._settings, self._images, network_seed, target.classes, number)
        moments = Moments(target.classes, target.means.to(network.device.torch))
        rows = self._drawn(network_seed)
        self._steps += 1
        return follow(self._descent, network, moments, augmentations, self._settings.step, share_of_rate, rows)

    def _drawn(self, network_seed: int) -> Tensor | None:
        """The images that the next step matches; None for all."""
        size, labels = self._settings.synthetic_batch_size, self._descent.synthetic.labels
        if size == "all":
            return None
        draws = generator(network_seed, "synthetic batch", self._steps)
        of_classes = (torch.nonzero(labels == label)[:, 0].numpy() for label in self.classes)
        chosen = [np.sort(draws.permutation(rows)[:size]) for rows in of_classes]
        return torch.from_numpy(np.concatenate(chosen))

    def synthetic(self) -> SyntheticSet:
        """The set as it is now, on the CPU."""
        current = self._descent.synthetic
        return SyntheticSet(current.images.cpu(), current.labels, current.expand)

    def copy(self) -> Refinement:
        """A refinement that goes on from here and leaves this one as it is."""
        other = copy(self)
        other._descent = self._descent.copy()
        return other
