"""DOSFL: every site distils its data by back-propagating through the training of a network near common weights.

Zhou, Pu, Ma, Li and Wu, "Distilled One-Shot Federated Learning" (2020, arXiv:2009.07999), with the outer optimisation
of RaT-BPTT (Feng, Vedantam and Kempe, ICLR 2024, arXiv:2311.07025). The server broadcasts the seed of weights theta_0.
In every outer step a site starts a network at theta_0 and some noise (the soft reset), trains it on its synthetic
images for N + M steps, N at random, and moves the images along the gradient of the loss on real data through the last M
steps.

`distils: images` uploads images with hard labels, which Adam trains on in random class-balanced batches; the result is
their union, judged on networks near theta_0 as well as on fresh ones, and a network that the server trains as the sites
did. `distils: triples` is the original: batches in a fixed sequence, each with soft labels and a step size that are
learned, too, for plain SGD. The server interleaves the sites' sequences and trains from theta_0; the network is the
result, for the triples mean nothing to another way of training.

Departs from the published code where that is named: `lengths`; augmentation is rotation and, where the data set's
strategy has it, flipping; no whitening; nothing is picked by its test accuracy. Soft labels are kept probabilities,
step sizes positive. `expand` has no meaning here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from collab.augment import Operation, per_sample
from collab.compute import Device, report
from collab.data import ImageSpec, SiteData
from collab.errors import RunFailedError
from collab.matching import SyntheticSet
from collab.methods import (
    Ask,
    Expected,
    Fleet,
    MethodSettings,
    Outcome,
    Sections,
    Site,
    Start,
    Task,
    expected_synthetic,
    read_synthetic,
    synthetic_section,
)
from collab.nets import Network, operations_per_image, seeded_network
from collab.optimisers import Adam, LengthLimit, Sgd
from collab.pooling import Union
from collab.unrolling import (
    AUGMENTATIONS,
    PASSES_OF_A_STEP,
    PASSES_OF_A_STEP_BACK,
    Distillate,
    Step,
    Training,
    balanced_batches,
)
from collab.wire import Section, encode
from simnet.draws import generator, key

UPLOADS = frozenset({"synthetic"})
TASKS = frozenset({"seeds"})

_SMALLEST_PROBABILITY = 1e-6
_LARGEST_STEP_SIZE = 1e3


class Settings(MethodSettings):
    """Settings of DOSFL; the defaults are those of RaT-BPTT for 10 images per class of CIFAR-10."""

    distils: Literal["images", "triples"] = Field(
        "images", description="images with hard labels; or the original's triples of images, soft labels and step sizes"
    )
    window: int = Field(60, ge=1, description="M: steps of training that are differentiated through")
    longest: int = Field(200, ge=1, description="T: steps of training at most, those before the window with them")
    lengths: Literal["step", "epoch"] = Field(
        "step",
        description="draw the length anew in every outer step, or once in a pass over the data as the published code",
    )
    outer_steps: int = Field(1000, ge=0, description="steps of the images; the published code takes up to 600,000")
    outer_learning_rate: float | None = Field(
        None, gt=0, description="of Adam; if not given, 0.001 for images and 0.01 for triples"
    )
    clip: float | None = Field(
        2.0, gt=0, description="longest gradient, in lengths of its moving average; null for no limit"
    )
    real_batch_size: int = Field(5000, ge=1, description="real images behind the loss of an outer step")
    batch_per_class: int = Field(10, ge=1, description="synthetic images of each class in a step of training")
    inner_learning_rate: float | None = Field(
        None, gt=0, description="if not given, 0.001 of Adam for images, and 0.01 where step sizes begin for triples"
    )
    spread: float = Field(
        0.1, ge=0, description="of the soft reset, in standard deviations of each tensor of theta_0; 0 for a hard reset"
    )
    masked: float = Field(
        0.0, ge=0, lt=1, description="share of the images, or batches of triples, that are noise in an outer step"
    )

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window > self.longest:
            raise ValueError(f"window is {self.window}, longest {self.longest}; expected window <= longest")
        return self

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel."""
        return 4 * share * side**2

    @property
    def inner_rate(self) -> float:
        """The learning rate of training on the distilled data; of triples, where it begins."""
        return self.inner_learning_rate or (0.001 if self.distils == "images" else 0.01)

    def training(self, network: Network) -> Training:
        """How networks train on the distilled data."""
        return Training(network, Adam(self.inner_rate) if self.distils == "images" else Sgd(self.inner_rate))

    def outer(self) -> Adam:
        """How the distilled data move."""
        return Adam(self.outer_learning_rate or (0.001 if self.distils == "images" else 0.01))

    def batches(self, share: int) -> int:
        """Batches into which the images of a site fall."""
        return -(-share // self.batch_per_class)

    def operations(self, images: ImageSpec) -> tuple[Operation, ...]:
        """The augmentations in use."""
        return tuple(operation for operation in self.strategy(images) if operation in AUGMENTATIONS)


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """What the site distils for networks near the weights that the task's seed gives."""
    if not site.data.classes_present:
        return {}
    (start_seed,) = task.sections["seeds"]["networks"].values().tolist()
    distillate, labels = distil_locally(task.settings, site, task.share, task.seed, start_seed)
    section = dict(synthetic_section(SyntheticSet(distillate.images.cpu(), labels.cpu())))
    if distillate.scales is not None:
        section["soft_labels"] = encode(distillate.targets.cpu().numpy(), "float32")
        section["step_sizes"] = encode((task.settings.inner_rate * distillate.scales).cpu().numpy(), "float32")
    return {"synthetic": section}


def distil_locally(settings: Settings, site: Site, share: int, seed: int, start_seed: int) -> tuple[Distillate, Tensor]:
    """What a site that holds at least one sample learns, and the hard labels, int64 [n] in ascending order."""
    data, device = site.data, site.device
    network = seeded_network(settings.network(data.spec), start_seed, device)
    start = Start(network, settings.spread)
    labels = torch.from_numpy(np.repeat(np.asarray(data.classes_present, dtype=np.int64), share)).to(device.torch)
    descent = _OuterDescent(settings, _initial(settings, data.spec, labels, seed, site))
    training = settings.training(network)
    for step in range(settings.outer_steps):
        draws = generator(seed, "outer", site.name, step)
        near = start.network_near(key(seed, "reset", site.name, step), device)
        before = _steps_before(settings, len(data), seed, site.name, step)
        schedule = _schedule(settings, data.spec, labels, share, before + settings.window, draws)
        images, truth = _real_batch(settings, data, draws, device)
        hidden = _hidden(settings, labels, share, draws)
        distillate = descent.distillate
        noise = _noise(distillate.images.shape, draws, device.torch, unit=settings.distils == "images")
        masked = replace(distillate, images=torch.where(hidden, noise, distillate.images))
        unrolled = training.unrolled(near.parameters(), masked, schedule, settings.window, images, truth)
        if not np.isfinite(unrolled.loss):
            raise RunFailedError(
                f"{site.name}: networks diverge on the distilled data (outer step {step + 1}); lower "
                "method.inner_learning_rate or method.outer_learning_rate"
            )
        unrolled.gradients[0].masked_fill_(hidden, 0.0)
        descent.step(unrolled.gradients)
        report(f"{site.name} distils", step + 1, settings.outer_steps)
    return descent.distillate, labels


def _initial(settings: Settings, spec: ImageSpec, labels: Tensor, seed: int, site: Site) -> Distillate:
    """Noise: images of unit length, which are nearly grey; for triples normal, with one-hot labels, as the original."""
    shape = (len(labels), spec.channels, spec.side, spec.side)
    draws, device = generator(seed, "noise", site.name), site.device.torch
    if settings.distils == "images":
        return Distillate(_noise(shape, draws, device, unit=True), labels)
    share = len(labels) // len(torch.unique(labels))
    soft = functional.one_hot(labels, spec.classes).float()
    return Distillate(
        _noise(shape, draws, device, unit=False), soft, torch.ones(settings.batches(share), device=device)
    )


def _noise(shape: Sequence[int], draws: np.random.Generator, device: torch.device, *, unit: bool) -> Tensor:
    """Standard normal images, float32; each at Euclidean length 1 if `unit`."""
    noise = torch.from_numpy(draws.standard_normal(tuple(shape), dtype=np.float32)).to(device)
    return functional.normalize(noise.flatten(1)).reshape(noise.shape) if unit else noise


def _steps_before(settings: Settings, samples: int, seed: int, site: str, step: int) -> int:
    """N: steps before the window, uniform on 0 ... longest - window."""
    a_pass = 1 if settings.lengths == "step" else -(-samples // settings.real_batch_size)
    draws = generator(seed, "length", site, step // a_pass)
    return int(draws.integers(settings.longest - settings.window + 1))


def _real_batch(
    settings: Settings, data: SiteData, draws: np.random.Generator, device: Device
) -> tuple[Tensor, Tensor]:
    """Real images, normalised and augmented, and their labels."""
    size = min(settings.real_batch_size, len(data))
    rows = np.sort(draws.choice(len(data), size, replace=False))
    labels = np.repeat(np.arange(data.spec.classes), data.counts)[rows]
    images = data.spec.normalise(data.images[rows], device.torch)
    augment = per_sample(settings.operations(data.spec), draws, size)
    return augment(images), torch.from_numpy(labels).to(device.torch)


def _hidden(settings: Settings, labels: Tensor, share: int, draws: np.random.Generator) -> Tensor:
    """Which images are noise this time, bool [n, 1, 1, 1]."""
    if settings.distils == "images":
        hidden = draws.random(len(labels)) < settings.masked
    else:
        batches = draws.random(settings.batches(share)) < settings.masked
        hidden = batches[np.arange(len(labels)) % share // settings.batch_per_class]
    return torch.from_numpy(hidden).to(labels.device).reshape(-1, 1, 1, 1)


class _OuterDescent:
    """Adam on everything that is learned; gradients much longer than usual are cut to size.

    Step sizes are learned by their logarithm, so they stay positive; soft labels are made probabilities again.
    """

    def __init__(self, settings: Settings, start: Distillate) -> None:
        self.distillate = start
        self._limit = LengthLimit(settings.clip)
        self._optimiser = settings.outer()
        self._state = self._optimiser.start(start.variables())

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move along the gradients by images, soft labels and step sizes."""
        data, found = self.distillate, list(gradients)
        if data.scales is not None:
            found[-1] = found[-1] * data.scales
        found = self._limit.shortened(found)
        variables = data.variables() if data.scales is None else [*data.variables()[:-1], data.scales.log()]
        moved, self._state = self._optimiser.step(variables, found, self._state)
        if data.scales is not None:
            moved[-1] = moved[-1].exp()
            soft = moved[1].clamp(min=_SMALLEST_PROBABILITY)
            moved[1] = soft / soft.sum(dim=1, keepdim=True)
        self.distillate = data.holding(moved)


# -- training on what was distilled --------------------------------------------------------------


def _schedule(
    settings: Settings, spec: ImageSpec, labels: Tensor, share: int, number: int, draws: np.random.Generator
) -> list[Step]:
    """The steps of training on one site's images, or on a union of such."""
    if settings.distils == "images":
        return balanced_batches(labels, settings.batch_per_class, number, settings.operations(spec), draws)
    batches = _sequence(settings, len(labels), share)
    return [_augmented(settings, spec, batches[index % len(batches)], draws) for index in range(number)]


def _sequence(settings: Settings, images: int, share: int) -> list[Step]:
    """The batches of a site in their order: batch j holds the j-th `batch_per_class` images of every class."""
    batch_of = np.arange(images) % share // settings.batch_per_class
    return [
        Step(torch.from_numpy(np.flatnonzero(batch_of == position)), position=position)
        for position in np.unique(batch_of).tolist()
    ]


def _augmented(settings: Settings, spec: ImageSpec, step: Step, draws: np.random.Generator) -> Step:
    return replace(step, augment=per_sample(settings.operations(spec), draws, len(step.rows)))


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """The union of the sites' images and a network trained on it, or the network that their triples train."""
    settings: Settings = fleet.settings
    start_seed = key(fleet.seed, "dosfl", "start")
    seeds = {
        "iterations": encode(np.zeros(1, dtype=np.uint32)),
        "networks": encode(np.asarray([start_seed], dtype=np.uint64)),
    }
    ask = Ask({"seeds": seeds}, {"synthetic": _expected(settings, fleet.images, fleet.share)})
    union = Union(fleet.images, settings.images_per_class, fleet.seed)
    triples: dict[str, Section] = {}
    async for upload in fleet.ask(dict.fromkeys(fleet.sites, ask)):
        section = upload.sections.get("synthetic")
        if section is not None and settings.distils == "images":
            union.add(upload.site, *read_synthetic(section))
        elif section is not None:
            triples[upload.site] = section
    theta = seeded_network(settings.network(fleet.images), start_seed, fleet.device)
    if settings.distils == "triples":
        in_order = [triples[site] for site in fleet.sites if site in triples]
        if not in_order:
            raise RunFailedError("no site had anything to give: there are no triples to train on")
        network = await fleet.compute(
            "train", train_on_triples, settings, fleet.images, in_order, fleet.share, theta, fleet.seed
        )
        return Outcome(None, networks={"distilled sequence": network})
    synthetic = union.synthetic()
    if len(synthetic.images) == 0:
        return Outcome(synthetic)
    network = await fleet.compute("train", train_on_images, settings, fleet.images, synthetic, theta, fleet.seed)
    return Outcome(synthetic, networks={"trained as distilled": network}, start=Start(theta, settings.spread))


def train_on_images(settings: Settings, spec: ImageSpec, synthetic: SyntheticSet, theta: Network, seed: int) -> Network:
    """A network trained from theta_0 on the union of the images, as sites train on their own for the longest time."""
    where = theta.device
    data = Distillate(synthetic.images.to(where.torch), synthetic.labels.to(where.torch))
    draws = generator(seed, "dosfl", "train")
    steps = balanced_batches(data.targets, settings.batch_per_class, settings.longest, settings.operations(spec), draws)
    weights, _ = settings.training(theta).run(theta.parameters(), data, steps)
    return Network(theta.spec, weights, where)


def train_on_triples(
    settings: Settings, spec: ImageSpec, sections: Sequence[Section], share: int, theta: Network, seed: int
) -> Network:
    """A network trained from theta_0 by plain SGD on all sequences, interleaved: in every epoch every position, at
    every position the batch of every site.
    """
    where = theta.device
    draws = generator(seed, "dosfl", "train")
    images, soft, scales, order = [], [], [], _interleaved(settings, sections, share)
    for section in sections:
        images.append(torch.from_numpy(section["images"].values().copy()))
        soft.append(torch.from_numpy(section["soft_labels"].values().copy()))
        scales.append(torch.from_numpy(section["step_sizes"].values() / settings.inner_rate))
    data = Distillate(*(torch.cat(parts).to(where.torch) for parts in (images, soft, scales)))
    epochs = -(-settings.longest // settings.batches(share))
    steps = [_augmented(settings, spec, step, draws) for _ in range(epochs) for step in order]
    weights, _ = settings.training(theta).run(theta.parameters(), data, steps)
    return Network(theta.spec, weights, where)


def _interleaved(settings: Settings, sections: Sequence[Section], share: int) -> list[Step]:
    """The batches of all sites, position by position; rows and positions count through all sites."""
    found: list[tuple[int, Step]] = []
    rows = 0
    for number, section in enumerate(sections):
        images = section["labels"].shape[0]
        for step in _sequence(settings, images, share):
            position = number * settings.batches(share) + step.position
            found.append((step.position, Step(step.rows + rows, position=position)))
        rows += images
    return [step for _, step in sorted(found, key=lambda entry: entry[0])]


def _expected(settings: Settings, images: ImageSpec, share: int) -> Mapping[str, Expected]:
    expected = expected_synthetic(images, share)
    if settings.distils == "images":
        return expected
    return {
        **expected,
        "soft_labels": Expected("float32", ("images", images.classes), 0, 1),
        "step_sizes": Expected("float32", (settings.batches(share),), 0, _LARGEST_STEP_SIZE),
    }


# -- closed formulas -----------------------------------------------------------------------------


def upload_bytes(settings: Settings, images: ImageSpec, *, classes: int, share: int) -> int:
    """Bytes of the tensors in one upload of a site that holds `classes` classes, without the envelope: 4 B a pixel, 1 B
    a label; with triples 4 B for every probability and every step size (fact sheet, section 8.3).
    """
    number = share * classes
    extra = 4 * (number * images.classes + settings.batches(share)) if settings.distils == "triples" else 0
    return number * (4 * images.pixels + 1) + extra


def outer_step_operations(settings: Settings, images: ImageSpec, counts: Sequence[int], share: int, before: int) -> int:
    """Closed formula: operations of one outer step at a site with `counts` samples of each class and `before` steps
    before the window; `share` is a multiple of the batch, or no larger.
    """
    classes = sum(held > 0 for held in counts)
    batch = classes * min(settings.batch_per_class, share)
    training = PASSES_OF_A_STEP * (before + settings.window) + PASSES_OF_A_STEP_BACK * settings.window
    real = PASSES_OF_A_STEP * min(settings.real_batch_size, sum(counts))
    return (batch * training + real) * operations_per_image(settings.network(images)).forward


def client_operations(settings: Settings, images: ImageSpec, counts: Sequence[int], share: int) -> int:
    """What a site computes, about: every outer step as one in the middle of those that there can be."""
    before = max(0, settings.longest - settings.window) // 2
    return settings.outer_steps * outer_step_operations(settings, images, counts, share, before)
