"""CollabDM: one-shot collaborative data distillation by distribution matching.

Holland, Thapa, Ali Siddiqui, Shao and Camtepe, "One-Shot Collaborative Data Distillation" (2024), arXiv:2408.02266,
Algorithm 1. The server draws T network seeds and, for each, the sites that take part. Every site distils its own
data and computes, under each of its seeded networks, the mean embedding of every class; it uploads both at once.
The server starts from the union of the distilled images and takes one step per network toward the mean over sites.

Where the paper leaves room: means are weighted by the sites' class counts, which travel with the upload
(`weighting: uniform` is the published code's plain mean); one step follows the sum over classes; a site without
a class simply says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from collab.augment import Augmentation, siamese
from collab.compute import Device, report
from collab.data import ImageSpec
from collab.matching import Descent, Moments, SyntheticSet, class_moments
from collab.methods import (
    Ask,
    Expected,
    Fleet,
    Outcome,
    Sections,
    Site,
    Task,
    expected_synthetic,
    localdm,
    read_synthetic,
)
from collab.nets import NetworkSpec, operations_per_image, seeded_network
from collab.wire import FloatDtype, Section, encode
from simnet.draws import generator, key

__all__ = ["Settings", "client", "server"]

UPLOADS = frozenset({"embeddings", "synthetic"})
TASKS = frozenset({"seeds"})
smallest_upload_bytes = localdm.smallest_upload_bytes

_FIXED_POINT = 2.0**24  # float16 numbers are whole multiples of 2^-24, so their sums below are exact
_LARGEST_COUNT = 10**8


class Settings(localdm.Settings):
    """Settings of CollabDM; the defaults are the paper's (Table 2)."""

    iterations: int = Field(200, ge=0, description="T: random networks, each used for one step of refinement")
    participation: float = Field(1.0, gt=0, le=1, description="epsilon: share of the sites that serve each network")
    batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        512, description="B: real images of each class behind a mean, or all that the site holds"
    )
    learning_rate: float = Field(10.0, gt=0, description="of the refinement")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the refinement")
    weighting: Literal["counts", "uniform"] = Field(
        "counts", description="weigh a site's class mean by its number of samples, or all sites alike"
    )
    embedding_dtype: FloatDtype = Field("float16", description="of the uploaded means")


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """The site's own distillation and its class means under each network of the task."""
    settings: Settings = task.settings
    local = localdm.client(task, site)
    if not local:
        return {}
    iterations = task.sections["seeds"]["iterations"].values()
    seeds = task.sections["seeds"]["networks"].values()
    if len(seeds) == 0:
        return local
    return {**local, "embeddings": class_means(settings, site, iterations, seeds, task.seed)}


def class_means(
    settings: Settings, site: Site, iterations: NDArray[np.uint32], seeds: NDArray[np.uint64], seed: int
) -> Section:
    """Mean embeddings [T_k, C_k, D] of the classes that the site holds, and how many samples it has of each."""
    data = site.data
    classes = data.classes_present
    network = seeded_network(settings.network(data.spec), 0, site.device)
    size = None if settings.batch_size == "all" else settings.batch_size
    rows = []
    for position, (iteration, network_seed) in enumerate(zip(iterations.tolist(), seeds.tolist(), strict=True)):
        network.reseed(network_seed)
        batches = [
            data.portions(label, size, generator(seed, "batch", site.name, iteration, label), site.device.torch)
            for label in classes
        ]
        augmentations = _augmentations(settings, data.spec, network_seed, classes)
        rows.append(class_moments(network, batches, classes, augmentations).means.cpu().numpy())
        report(f"{site.name} embeds", position + 1, len(seeds))
    return {
        "classes": encode(np.asarray(classes), "uint8"),
        "counts": encode(data.counts[classes], "int64"),
        "means": encode(np.stack(rows), settings.embedding_dtype),
    }


def _augmentations(
    settings: Settings, images: ImageSpec, network_seed: int, classes: Sequence[int]
) -> list[Augmentation]:
    """The siamese augmentation of each class under one network: the same at every site and at the server."""
    strategy = settings.strategy(images)
    return [siamese(strategy, generator(network_seed, "augment", label)) for label in classes]


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """Ask every site once, then refine the union of their images."""
    settings: Settings = fleet.settings
    spec = settings.network(fleet.images)
    seeds = network_seeds(fleet.seed, settings.iterations)
    sums = EmbeddingSums(settings, spec)
    pool = localdm.InitialPool(fleet.images, settings, fleet.seed)
    takers = participants(settings, fleet.sites, fleet.seed)
    asks = {site: ask_for(fleet, spec, seeds, takers[site]) for site in fleet.sites}
    async for upload in fleet.ask(asks):
        if "synthetic" in upload.sections:
            pool.add(upload.site, *read_synthetic(upload.sections["synthetic"]))
        if "embeddings" in upload.sections:
            sums.add(upload.sections["embeddings"], takers[upload.site])
    initial = pool.synthetic()
    refined = await fleet.compute("refine", refine, initial, sums, seeds, settings, fleet.images, fleet.device)
    return Outcome(refined, initial)


def network_seeds(seed: int, iterations: int) -> list[int]:
    """The seeds alpha_1 ... alpha_T of the networks."""
    return [key(seed, "network", iteration) for iteration in range(iterations)]


def participants(settings: Settings, sites: Sequence[str], seed: int) -> Mapping[str, list[int]]:
    """The iterations that each site serves: Z_t holds max(int(epsilon K), 1) sites, drawn without replacement."""
    size = max(int(settings.participation * len(sites)), 1)
    takers: dict[str, list[int]] = {site: [] for site in sites}
    for iteration in range(settings.iterations):
        chosen = generator(seed, "participants", iteration).choice(len(sites), size, replace=False)
        for index in sorted(chosen.tolist()):
            takers[sites[index]].append(iteration)
    return takers


def ask_for(fleet: Fleet, spec: NetworkSpec, seeds: Sequence[int], iterations: Sequence[int]) -> Ask:
    """What a site is asked for that serves these iterations: its images and, if there are any, its class means."""
    settings: Settings = fleet.settings
    images = fleet.images
    sent = {
        "iterations": encode(np.asarray(iterations, dtype=np.uint32)),
        "networks": encode(np.asarray([seeds[iteration] for iteration in iterations], dtype=np.uint64)),
    }
    expected = {
        "classes": Expected("uint8", ("classes",), 0, images.classes - 1, unique=True),
        "counts": Expected("int64", ("classes",), 1, _LARGEST_COUNT),
        "means": Expected(settings.embedding_dtype, (len(iterations), "classes", spec.embedding_size)),
    }
    synthetic = dict(expected_synthetic(images, fleet.share))
    if not iterations:
        return Ask({"seeds": sent}, {"synthetic": synthetic})
    synthetic["labels"] = replace(synthetic["labels"], among=("embeddings", "classes"))
    return Ask({"seeds": sent}, {"embeddings": expected, "synthetic": synthetic})


class EmbeddingSums:
    """Weighted sums of the sites' class means, [T, C, D]: the server's memory does not grow with the number of sites.

    The sums are kept in fixed point, whole multiples of 2^-24, so they are exact for float16 and do not depend on the
    order in which uploads arrive: a run over sockets and a simulated one end in the same bits.
    """

    def __init__(self, settings: Settings, spec: NetworkSpec) -> None:
        self._by_counts = settings.weighting == "counts"
        self._sums = np.zeros((settings.iterations, spec.classes, spec.embedding_size), dtype=np.int64)
        self._weights = np.zeros((settings.iterations, spec.classes), dtype=np.int64)

    def add(self, section: Section, iterations: Sequence[int]) -> None:
        """Fold in one site's means, which answer to `iterations` in this order."""
        classes = section["classes"].values().astype(np.int64)
        counts = section["counts"].values()
        weights = counts if self._by_counts else np.ones_like(counts)
        fixed = np.rint(section["means"].values().astype(np.float64) * _FIXED_POINT).astype(np.int64)
        where = np.ix_(np.asarray(iterations, dtype=np.int64), classes)
        self._sums[where] += fixed * weights[None, :, None]
        self._weights[where] += weights[None, :]

    def target(self, iteration: int, present: Sequence[int]) -> Moments:
        """The mean embeddings at one iteration, of those classes in `present` that some site held."""
        weights = self._weights[iteration]
        classes = [label for label in present if weights[label] > 0]
        means = self._sums[iteration, classes] / (weights[classes, None] * _FIXED_POINT)
        return Moments(classes, torch.from_numpy(means.astype(np.float32)))


def refine(
    initial: SyntheticSet,
    sums: EmbeddingSums,
    seeds: Sequence[int],
    settings: Settings,
    images: ImageSpec,
    device: Device,
) -> SyntheticSet:
    """One step of the synthetic set for each network, toward the mean embeddings of the sites."""
    refinement = Refinement(initial, settings, images, device)
    for iteration, network_seed in enumerate(seeds):
        refinement.step(network_seed, sums.target(iteration, refinement.classes))
        report("server refines", iteration + 1, len(seeds))
    return refinement.synthetic()


class Refinement:
    """The server's synthetic set on its way, one step for each network."""

    def __init__(self, initial: SyntheticSet, settings: Settings, images: ImageSpec, device: Device) -> None:
        synthetic = SyntheticSet(initial.images.to(device.torch), initial.labels, initial.expand)
        self.classes = synthetic.classes()
        """The classes that the set has images of."""
        self._descent = Descent(synthetic, settings.learning_rate, settings.momentum)
        self._network = seeded_network(settings.network(images), 0, device)
        self._settings = settings
        self._images = images

    def step(self, network_seed: int, target: Moments) -> None:
        """One step toward the mean embeddings `target` under the network of a seed; none if there is no class."""
        if not target.classes:
            return
        network = self._network.reseed(network_seed)
        augmentations = _augmentations(self._settings, self._images, network_seed, target.classes)
        moments = Moments(target.classes, target.means.to(network.device.torch))
        self._descent.step_toward(network, moments, augmentations)

    def synthetic(self) -> SyntheticSet:
        """The set as it is now, on the CPU."""
        current = self._descent.synthetic
        return SyntheticSet(current.images.cpu(), current.labels, current.expand)

    def copy(self) -> Refinement:
        """A refinement that goes on from here and leaves this one as it is."""
        other = copy(self)
        other._descent = self._descent.copy()
        return other


def upload_bytes(settings: Settings, images: ImageSpec, *, iterations: int, classes: int, share: int) -> int:
    """Closed formula: bytes of the tensors in one upload, without the envelope (fact sheet, section 12).

    U = b_e D C T_k + b_i n_k C px, and beside it 9 B per class for its number and count, 1 B per image for its label.
    """
    per_value = {"float32": 4, "float16": 2, "bfloat16": 2}[settings.embedding_dtype]
    embedding = settings.network(images).embedding_size
    means = per_value * embedding * classes * iterations
    pictures = 4 * share * classes * images.pixels
    return means + pictures + 9 * classes + share * classes


def client_operations(
    settings: Settings, images: ImageSpec, counts: Sequence[int], share: int, *, iterations: int | None = None
) -> int:
    """Closed formula: floating-point operations of `client` at a site with `counts` samples of each class.

    LocalDM's, and T_k sum_y min(n_y, B) F for the class means under T_k networks (`iterations`; all of them if not
    given), where F is what one image takes forward.
    """
    networks = settings.iterations if iterations is None else iterations
    embedded = sum(count if settings.batch_size == "all" else min(count, settings.batch_size) for count in counts)
    forward = operations_per_image(settings.network(images)).forward
    return localdm.client_operations(settings, images, counts, share) + networks * embedded * forward
