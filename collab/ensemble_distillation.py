"""Learning from trained networks without data: what an ensemble knows, and the losses that bring it out.

The terms of DENSE (Zhang et al., NeurIPS 2022), one function each. Scores are before softmax, [n, classes].
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from collab.data import ImageSpec
from collab.nets import Network
from collab.nets.training import Statistics


def unit(images: ImageSpec) -> ImageSpec:
    """The same images with pixels in [0, 1]: nothing is subtracted, nothing divided by."""
    return replace(images, mean=(0.0,) * images.channels, std=(1.0,) * images.channels)


@dataclass(frozen=True)
class InUnits:
    """Networks that take pixels in [0, 1], as one that takes normalised images: the mean of their scores.

    `members` are these networks by the names under which a run keeps them.
    """

    members: Mapping[str, Network]
    images: ImageSpec

    def scores(self, images: Tensor) -> Tensor:
        """Class scores [n, classes] of normalised images [n, channels, side, side]."""
        mean, std = (
            torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (self.images.mean, self.images.std)
        )
        return ensemble_scores(list(self.members.values()), images * std + mean)

    def checksum(self) -> str:
        """SHA-256 of the checksums of all networks."""
        checksums = (network.checksum() for network in self.members.values())
        return hashlib.sha256("".join(checksums).encode()).hexdigest()


def ensemble_scores(networks: Sequence[Network], images: Tensor) -> Tensor:
    """The mean of the networks' scores, [n, classes]."""
    return torch.stack([network.scores(images) for network in networks]).mean(dim=0)


def norm_loss(held: Sequence[Statistics], seen: Sequence[Statistics]) -> Tensor:
    """Over the norms of one network, the distance of a batch's variances and means from the running ones; 0 without."""
    total = torch.zeros(())
    for known, batch in zip(held, seen, strict=True):
        distance = torch.linalg.vector_norm(known.variance - batch.variance)
        total = total.to(distance.device) + distance + torch.linalg.vector_norm(known.mean - batch.mean)
    return total


def adversarial_loss(student: Tensor, ensemble: Tensor) -> Tensor:
    """Minus the divergence KL(ensemble || student) of scores [n, classes], meant over all samples, of which only those
    count that the two would label differently.
    """
    differ = student.argmax(dim=1) != ensemble.argmax(dim=1)
    divergence = functional.kl_div(
        functional.log_softmax(student, dim=1),
        functional.log_softmax(ensemble, dim=1),
        reduction="none",
        log_target=True,
    )
    return -(divergence.sum(dim=1) * differ).mean()


def distillation_loss(student: Tensor, ensemble: Tensor, temperature: float) -> Tensor:
    """T^2 KL(ensemble || student) of scores [n, classes] softened by the temperature T, meant over the samples."""
    own = functional.log_softmax(student / temperature, dim=1)
    theirs = functional.log_softmax(ensemble / temperature, dim=1)
    return functional.kl_div(own, theirs, reduction="batchmean", log_target=True) * temperature**2
