"""The strawman: collaborative distillation in many rounds, one for each step of the server.

Section 4.1 of the CollabDM paper (arXiv:2408.02266), which describes it and reports no numbers. Whatever a distillation
algorithm wants to know of the real data under a network is asked of the sites, round after round. The instances
are all exact because what a site answers is a sum over its samples:

- `distribution-matching`: the server sends a seed, the sites return mean embeddings. The steps, batches and weights
  are those of CollabDM, and so is the result, to the bit; what CollabDM saves is the rounds.
- `gradient-matching` (DC and DSA, see `collab.gradient_matching`): the server sends a network, the sites return for
  each class the sum of the gradients of the cross entropy by all weights. Between two rounds the server trains the
  network on the synthetic set; after some rounds it starts with a fresh network.
- `meta-learning` (BPTT and RaT-BPTT, see `collab.meta_learning`): the server trains a fresh network on the synthetic
  set and sends it, the sites return the sum of the gradients over their samples, of whatever class, and the server goes
  back through the training to the images.

All start from what CollabDM starts from, the union of local distillations; the literature starts from real images,
which must not travel, or from noise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collab.augment import Augmentation, Operation, per_sample, siamese
from collab.class_means import class_means
from collab.compute import report
from collab.data import ImageSpec
from collab.embedding_sums import EmbeddingSums
from collab.gradient_matching import GradientSums, class_gradients, gradient_sum, matched, trained
from collab.matching import Descent, SyntheticSet
from collab.meta_learning import OuterDescent, stepped, unrolled
from collab.methods import (
    Ask,
    Expected,
    Fleet,
    Outcome,
    Sections,
    Site,
    Task,
    collabdm,
    localdm,
    model_section,
    read_model,
)
from collab.nets import Network, seeded_network
from collab.network_seeds import network_seeds, networks_of, participants
from collab.refinement import Refinement
from collab.step_plan import share_of_rate, step_order
from collab.unrolling import AUGMENTATIONS
from collab.wire import Section, encode
from simnet.draws import generator, key

UPLOADS = frozenset({"embeddings", "gradients", "synthetic"})
TASKS = frozenset({"model", "seeds"})

_LARGEST_COUNT = 10**8
_LARGEST_GRADIENT = 1e6

Instance = Literal["distribution-matching", "gradient-matching", "meta-learning"]
BatchSize = Annotated[int, Field(ge=1)] | Literal["all"]


class _InstanceSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GradientMatchingSettings(_InstanceSettings):
    """Settings of gradient matching; the defaults are those of DC and DSA (Zhao et al. 2021)."""

    restarts: int = Field(1000, ge=0, description="fresh networks, one after the other")
    outer_loops: int | None = Field(
        None,
        ge=1,
        description="rounds with each network; 1, 10 or 50 from 1, 10 or 50 images per class on if not given",
    )
    inner_loops: int | None = Field(
        None,
        ge=0,
        description="epochs of training between two rounds; 1, 50 or 10 from 1, 10 or 50 images per class on",
    )
    batch_size: BatchSize = Field(256, description="real images of each class behind a gradient, or all of a site's")
    learning_rate: float = Field(0.1, gt=0, description="of the images")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the images")
    network_learning_rate: float = Field(0.01, gt=0, description="of the network's training on the synthetic set")
    network_batch_size: int = Field(256, ge=1, description="synthetic images in a step of that training")

    def loops(self, images_per_class: int) -> tuple[int, int]:
        """Rounds with each network, and epochs of training between two of them."""
        outer, inner = next(loops for least, loops in _LOOPS if images_per_class >= least)
        return self.outer_loops or outer, inner if self.inner_loops is None else self.inner_loops


_LOOPS = ((50, (50, 10)), (10, (10, 50)), (1, (1, 1)))  # images per class, at least -> outer and inner loops


class MetaLearningSettings(_InstanceSettings):
    """Settings of meta-learning; the defaults are those of RaT-BPTT (Feng et al. 2024) for 10 images per class of
    CIFAR-10, but for the number of steps.
    """

    steps: int = Field(1000, ge=0, description="rounds, one for a step of the images; published: up to 600,000")
    window: int = Field(60, ge=1, description="M: steps of training that are differentiated through")
    longest: int = Field(200, ge=1, description="T: steps of training at most; how many is drawn from M ... T")
    batch_per_class: int = Field(10, ge=1, description="synthetic images of each class in a step of training")
    inner_learning_rate: float = Field(0.001, gt=0, description="of Adam, of the network that is trained")
    real_batch_size: BatchSize = Field(5000, description="real images of a site behind a gradient, or all of them")
    outer_learning_rate: float = Field(0.001, gt=0, description="of Adam, of the images")
    clip: float | None = Field(
        2.0, gt=0, description="longest gradient, in lengths of its moving average; null for no limit"
    )

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window > self.longest:
            raise ValueError(f"window is {self.window}, longest {self.longest}; expected window <= longest")
        return self


class Settings(collabdm.Settings):
    """Settings of the strawman: CollabDM's serve distribution matching (but for `seeds`, which are sent one by one),
    the other instances have sections of their own.
    """

    initial: Literal["random", "union"] = Field(
        "random", description="what the server starts from, as in localdm: images of the sites, in a round of their own"
    )
    aggregation: Literal["plain"] = Field("plain", description="the server sees the means of each site")
    privacy: None = Field(None, description="none: noise hides a sample in one release, not in one for each round")
    robust: None = Field(None, description="none: what a round is asked of is the mean over all sites")
    instance: Instance = Field("distribution-matching", description="which statistic of the real data is asked for")
    gradient_matching: GradientMatchingSettings = Field(
        GradientMatchingSettings(), description="settings of the instance gradient-matching"
    )
    meta_learning: MetaLearningSettings = Field(
        MetaLearningSettings(), description="settings of the instance meta-learning"
    )


def kinds(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds of content that the sites send in this instance, and that the server sends them."""
    if settings.instance == "distribution-matching":
        return collabdm.UPLOADS, collabdm.TASKS
    return frozenset({"gradients", "synthetic"}), frozenset({"model"})


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """The site's answer in one round: its own distillation in the first, its part of the statistic in all others."""
    settings: Settings = task.settings
    if not site.data.classes_present:
        return {}
    if "model" in task.sections:
        answer = _gradient if settings.instance == "meta-learning" else _gradients
        return {"gradients": answer(settings, site, task.sections["model"], task.seed)}
    if "seeds" not in task.sections:
        return localdm.client(task, site)
    iterations, networks = networks_of(task.sections["seeds"], settings.networks_served)
    return {"embeddings": class_means(settings, site, iterations, networks, task.seed)}


def _gradients(settings: Settings, site: Site, model: Section, seed: int) -> Section:
    """Sums of gradients [C_k, P] of the classes that the site holds, and how many samples are in each."""
    data = site.data
    classes = data.classes_present
    number = int(model["round"].values()[0])
    network = read_model(model, settings.network(data.spec), site.device)
    chosen = settings.gradient_matching.batch_size
    size = None if chosen == "all" else chosen
    batches = [
        data.draw(label, size, generator(seed, "batch", site.name, number, label), site.device.torch)
        for label in classes
    ]
    augmentations = _augmentations(settings, data.spec, seed, number, classes)
    sums = class_gradients(network, batches, classes, augmentations)
    return {
        "classes": encode(np.asarray(classes), "uint8"),
        "counts": encode(np.asarray([len(images) for images in batches]), "int64"),
        "sums": encode(sums.cpu().numpy(), "float32"),
    }


def _gradient(settings: Settings, site: Site, model: Section, seed: int) -> Section:
    """The sum of the gradients [1, P] of a batch of the site's samples, and how many of them are of each class."""
    data = site.data
    number = int(model["round"].values()[0])
    network = read_model(model, settings.network(data.spec), site.device)
    chosen = settings.meta_learning.real_batch_size
    draws = generator(seed, "batch", site.name, number)
    size = len(data) if chosen == "all" else min(chosen, len(data))
    rows = np.sort(draws.choice(len(data), size, replace=False))
    images = data.spec.normalise(data.images[rows], site.device.torch)
    augmented = per_sample(_operations(settings, data.spec), draws, size)(images)
    labels = data.labels[rows]
    classes, counts = np.unique(labels, return_counts=True)
    total = gradient_sum(network, augmented, torch.from_numpy(labels))
    return {
        "classes": encode(classes, "uint8"),
        "counts": encode(counts, "int64"),
        "sums": encode(total.cpu().numpy()[None], "float32"),
    }


def _operations(settings: Settings, images: ImageSpec) -> tuple[Operation, ...]:
    """The augmentations of meta-learning, of which every image has its own, synthetic or real."""
    return tuple(operation for operation in settings.strategy(images) if operation in AUGMENTATIONS)


def _augmentations(
    settings: Settings, images: Any, seed: int, number: int, classes: Sequence[int]
) -> list[Augmentation]:
    """The siamese augmentation of each class in a round: the same at every site and at the server."""
    strategy = settings.strategy(images)
    return [siamese(strategy, generator(seed, "round", number, "augment", label)) for label in classes]


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """Ask every site in every round."""
    settings: Settings = fleet.settings
    match settings.instance:
        case "distribution-matching":
            return await _match_distributions(fleet)
        case "gradient-matching":
            return await _match_gradients(fleet)
        case "meta-learning":
            return await _learn_by_unrolling(fleet)
    raise AssertionError(settings.instance)


async def _match_distributions(fleet: Fleet) -> Outcome:
    settings: Settings = fleet.settings
    spec = settings.network(fleet.images)
    seeds = network_seeds(fleet.seed, settings.iterations)
    takers = participants(settings, fleet.sites, fleet.seed)
    initial = await localdm.union_of(fleet, settings)  # a round of its own
    refinement = Refinement(initial, settings, fleet.images, fleet.device)
    plan = step_order(seeds, settings.server_epochs)
    for step, (epoch, iteration) in enumerate(plan):
        asks = {
            site: _without_images(collabdm.ask_for(fleet, spec, seeds, [iteration]))
            for site in fleet.sites
            if iteration in takers[site]
        }
        sums = EmbeddingSums(settings.model_copy(update={"iterations": 1}), spec)
        async for upload in fleet.ask(asks):
            if "embeddings" in upload.sections:
                sums.add(upload.sections["embeddings"], [0])
        number, share = epoch % settings.augmentations, share_of_rate(settings.learning_rate_schedule, step, len(plan))
        refinement = await fleet.compute("refine", _refined, refinement, seeds[iteration], sums, number, share)
        report("rounds", step + 1, len(plan))
    return Outcome(refinement.synthetic(), initial)


def _without_images(ask: Ask) -> Ask:
    return Ask(ask.sections, {"embeddings": ask.expects["embeddings"]})


def _refined(
    refinement: Refinement,
    network_seed: int,
    sums: EmbeddingSums,
    number: int,
    share_of_rate: float,
) -> Refinement:
    further = refinement.copy()
    further.step(network_seed, sums.target(0, further.classes, number), number, share_of_rate)
    return further


async def _match_gradients(fleet: Fleet) -> Outcome:
    settings: Settings = fleet.settings
    chosen = settings.gradient_matching
    outer, inner = chosen.loops(settings.images_per_class)
    spec = settings.network(fleet.images)
    initial = await localdm.union_of(fleet, settings)  # a round of its own
    synthetic = SyntheticSet(initial.images.to(fleet.device.torch), initial.labels, initial.expand)
    descent = Descent(synthetic, chosen.learning_rate, chosen.momentum)
    rounds = [(restart, loop) for restart in range(chosen.restarts) for loop in range(outer)]
    network = seeded_network(spec, 0, fleet.device)
    for number, (restart, loop) in enumerate(rounds):
        if loop == 0:
            network = seeded_network(spec, key(fleet.seed, "network", restart), fleet.device)
        else:
            network = await fleet.compute(
                "train", trained, network, descent.synthetic, inner, chosen.network_learning_rate,
                chosen.network_batch_size, settings.strategy(fleet.images), key(fleet.seed, "training", number),
            )  # fmt: skip
        sums = GradientSums(spec.classes, spec.weights)
        async for section in _gradients_of(fleet, network, number, rows="classes"):
            sums.add(section["classes"].values().astype(np.int64), section["sums"].values(), section["counts"].values())
        classes, targets = sums.means()
        augmentations = _augmentations(settings, fleet.images, fleet.seed, number, classes)
        descent = await fleet.compute("match gradients", matched, descent, network, classes, targets, augmentations)
        report("rounds", number + 1, len(rounds))
    refined = descent.synthetic
    return Outcome(SyntheticSet(refined.images.cpu(), refined.labels, refined.expand), initial)


async def _learn_by_unrolling(fleet: Fleet) -> Outcome:
    settings: Settings = fleet.settings
    chosen = settings.meta_learning
    spec, operations = settings.network(fleet.images), _operations(settings, fleet.images)
    initial = await localdm.union_of(fleet, settings)  # a round of its own
    if len(initial.images) == 0:
        return Outcome(initial, initial)
    where = fleet.device.torch
    synthetic = SyntheticSet(initial.images.to(where), initial.labels.to(where), initial.expand)
    descent = OuterDescent(synthetic, chosen.outer_learning_rate, chosen.clip)
    for number in range(chosen.steps):
        network = seeded_network(spec, key(fleet.seed, "network", number), fleet.device)
        attempt = await fleet.compute(
            "unroll", unrolled, network, descent.synthetic, chosen, operations, key(fleet.seed, "unroll", number)
        )
        sums = GradientSums(1, spec.weights)
        async for section in _gradients_of(fleet, attempt.network, number, rows=1):
            sums.add(
                np.zeros(1, dtype=np.int64), section["sums"].values(), section["counts"].values().sum(keepdims=True)
            )
        _, means = sums.means()
        if len(means):
            descent = await fleet.compute("step back", stepped, descent, attempt, means[0])
        report("rounds", number + 1, chosen.steps)
    learned = descent.synthetic
    return Outcome(SyntheticSet(learned.images.cpu(), learned.labels.cpu(), learned.expand), initial)


async def _gradients_of(fleet: Fleet, network: Network, number: int, rows: int | str) -> AsyncIterator[Section]:
    """What the sites find under a network: sections of gradients with so many rows, or one for each class."""
    images = fleet.images
    sent = {**model_section(network), "round": encode(np.asarray([number], dtype=np.uint32))}
    expected: Mapping[str, Expected] = {
        "classes": Expected("uint8", ("classes",), 0, images.classes - 1, unique=True),
        "counts": Expected("int64", ("classes",), 1, _LARGEST_COUNT),
        "sums": Expected("float32", (rows, network.spec.weights), -_LARGEST_GRADIENT, _LARGEST_GRADIENT),
    }
    ask = Ask({"model": sent}, {"gradients": expected})
    async for upload in fleet.ask(dict.fromkeys(fleet.sites, ask)):
        if upload.sections:
            yield upload.sections["gradients"]
