"""What a site tells of its data in distribution matching: the mean embedding of each class under seeded networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch

from collab.compute import Device, report
from collab.content_cache import remembered
from collab.data import ImageSpec, SiteData
from collab.matching import class_moments
from collab.nets import NetworkSpec, reseeded, seeded_network
from collab.quantisation import EmbeddingDtype, as_section
from collab.refinement import AugmentationSettings, class_augmentations
from collab.wire import Section, encode
from simnet.draws import generator


class MeansSettings(AugmentationSettings, Protocol):
    """What of a method's settings decides about class means."""

    @property
    def batch_size(self) -> int | Literal["all"]:
        """B, the samples behind a mean."""

    @property
    def augmentations(self) -> int:
        """A, the means per network."""

    @property
    def embedding_dtype(self) -> EmbeddingDtype:
        """Of the means."""

    def network(self, images: ImageSpec) -> NetworkSpec:
        """The network that embeds such images."""


class Holder(Protocol):
    """Whoever has data: a site."""

    @property
    def name(self) -> str:
        """Draws of batches are named after it."""

    @property
    def data(self) -> SiteData:
        """What is private."""

    @property
    def device(self) -> Device:
        """Where it computes."""


def class_means(
    settings: MeansSettings, site: Holder, iterations: Iterable[int], seeds: Iterable[int], seed: int
) -> Section:
    """Mean embeddings [A T_k, C_k, D] of the classes that the site holds, and how many samples it has of each."""
    served = [(int(iteration), int(network_seed)) for iteration, network_seed in zip(iterations, seeds, strict=True)]
    drawn = (settings.batch_size, settings.augmentations, settings.strategy(site.data.spec), settings.embedding_dtype)
    parts = (settings.network(site.data.spec), drawn, site.name, site.data.digest, served, seed)
    return remembered("class means", site.device, parts, partial(_embedded, settings, site, served, seed))


def _embedded(settings: MeansSettings, site: Holder, served: Sequence[tuple[int, int]], seed: int) -> Section:
    data, classes = site.data, site.data.classes_present
    fresh = seeded_network(settings.network(data.spec), 0, site.device)
    size = None if settings.batch_size == "all" else settings.batch_size
    rows = []
    networks = reseeded(fresh, [network_seed for _, network_seed in served])
    for position, ((iteration, network_seed), network) in enumerate(zip(served, networks, strict=True)):
        for number in range(settings.augmentations):
            again = (number,) if number else ()
            draws = [generator(seed, "batch", site.name, iteration, label, *again) for label in classes]
            batches = [
                data.portions(label, size, draw, site.device.torch) for label, draw in zip(classes, draws, strict=True)
            ]
            augmentations = class_augmentations(settings, data.spec, network_seed, classes, number)
            rows.append(class_moments(network, batches, classes, augmentations).means)
        report(f"{site.name} embeds", position + 1, len(served))
    return {
        "classes": encode(np.asarray(classes), "uint8"),
        "counts": encode(data.counts[classes], "int64"),
        **as_section("means", torch.stack(rows).cpu().numpy(), settings.embedding_dtype),
    }
