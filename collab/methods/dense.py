"""DENSE: data-free one-shot federated learning. The sites' networks travel, once; the server distils their ensemble.

Zhang, Chen, Li, Lyu, Wu, Ding, Shen and Wu, "DENSE: Data-Free One-Shot Federated Learning" (NeurIPS 2022),
arXiv:2112.12371, with the published code's values as defaults. Every site trains a classifier from the same initial
weights and uploads it. The server has no data. In each of its epochs it draws a fresh generator and trains it for a
few steps so that the ensemble of the sites' networks knows the images for what they should be (cross entropy), that
they agree with the running statistics of the sites' batch norms, and that the student disagrees with the ensemble;
the best batch joins a pool of 8-bit images. Then the student passes once over the whole pool and learns to score
its images as the ensemble does. The ensemble is the plain mean of the sites' scores.

The result is a network, the student after the last epoch; the published code keeps the best by test accuracy. The
ensemble is judged beside it. With `yield_pool` the newest images of the pool are a synthetic set, too, as the sites'
labels would have them.

Where this departs from the published code: student and, with `client_network: shared`, the sites use the scenario's
network, which has no batch norm (the norm loss is then 0, as in the published code's own network for colour images);
nothing is mirrored in data sets whose strategy does not allow it (`flip: always` does as the code). Pixels are in
[0, 1], not normalised, as there. The server holds the networks of all sites: its memory grows with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation, crop_and_flip
from collab.compute import Device, count, report
from collab.data import ImageSpec
from collab.ensemble_distillation import (
    InUnits,
    adversarial_loss,
    distillation_loss,
    ensemble_scores,
    norm_loss,
    unit,
)
from collab.errors import RunFailedError
from collab.matching import SyntheticSet
from collab.methods import (
    Ask,
    Fleet,
    MethodSettings,
    Outcome,
    Sections,
    Site,
    Task,
    expected_model,
    model_section,
    read_model,
)
from collab.nets import Network, NetworkSpec, full_layout, seeded_network
from collab.nets import dense as published
from collab.nets.generator import GeneratorSpec, generate
from collab.nets.training import observed_scores, running, trained, training_operations, training_scores
from collab.optimisers import Adam
from collab.training import LocalTraining, Sgd, train_on_site, with_gradients
from simnet.draws import generator, key

UPLOADS = frozenset({"model"})
TASKS: frozenset[str] = frozenset()

_REACH = 4  # pixels that a crop moves an image
NetworkChoice = Literal["shared", "published"]


class Settings(MethodSettings):
    """Settings of DENSE; the defaults are the published code's, with the local epochs of its instructions."""

    client_network: NetworkChoice = Field(
        "shared", description="at the sites: the scenario's network, or the published code's for such images"
    )
    student_network: NetworkChoice = Field("shared", description="the same choice for the student")
    local_epochs: int = Field(400, ge=1, description="passes over a site's data")
    local_batch_size: int = Field(128, ge=1, description="of a site's training")
    local_learning_rate: float = Field(0.01, gt=0, description="of a site's training")
    local_momentum: float = Field(0.9, ge=0, lt=1, description="of a site's training")
    local_weight_decay: float = Field(0.0, ge=0, description="of a site's training")
    epochs: int = Field(200, ge=1, description="of the server: each synthesises a batch and passes over the pool")
    generator_steps: int = Field(30, ge=1, description="steps of each fresh generator")
    generator_learning_rate: float = Field(1e-3, gt=0, description="of Adam, of the generator")
    latent_size: int = Field(256, ge=1, description="random numbers behind an image")
    synthesis_batch_size: int = Field(256, ge=1, description="images that join the pool in an epoch")
    class_weight: float = Field(1.0, ge=0, description="of the cross entropy in the generator's loss")
    norm_weight: float = Field(1.0, ge=0, description="of the distance from the running statistics of batch norms")
    adversarial_weight: float = Field(1.0, ge=0, description="of the disagreement between student and ensemble")
    batch_size: int = Field(256, ge=1, description="images of the pool in a step of the student")
    learning_rate: float = Field(0.005, gt=0, description="of the student")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the student")
    temperature: float = Field(20.0, gt=0, description="that softens the scores which the student imitates")
    augment: bool = Field(True, description="crop and mirror as the published code does")
    flip: Literal["strategy", "always"] = Field(
        "strategy", description="mirror generated images if the data set's strategy does, or always, digits too"
    )
    yield_pool: bool = Field(False, description="the newest images_per_class images of the pool are a result, too")

    def client_spec(self, images: ImageSpec) -> NetworkSpec:
        """The network of the sites."""
        return self._spec(self.client_network, images)

    def student_spec(self, images: ImageSpec) -> NetworkSpec:
        """The network of the student."""
        return self._spec(self.student_network, images)

    def _spec(self, choice: NetworkChoice, images: ImageSpec) -> NetworkSpec:
        if choice == "published":
            return published.spec_for(images.channels, images.side, images.classes)
        return self.network(images)


# -- what happens to images ----------------------------------------------------------------------


def local_augmentation(settings: Settings, images: ImageSpec, draws: np.random.Generator, n: int) -> Augmentation:
    """Of a batch of real images: crop and flip for natural images in colour, nothing for others."""
    if not (settings.augment and _natural(images)):
        return lambda batch: batch
    return crop_and_flip(draws, n, reach=_REACH, flip=True)


def synthesis_augmentation(settings: Settings, images: ImageSpec, draws: np.random.Generator, n: int) -> Augmentation:
    """Of generated images on their way to the networks: crop and flip."""
    if not settings.augment:
        return lambda batch: batch
    return crop_and_flip(draws, n, reach=_REACH, flip=_mirrors(settings, images))


def distillation_augmentation(
    settings: Settings, images: ImageSpec, draws: np.random.Generator, n: int
) -> Augmentation:
    """Of a batch of the pool: crop and flip for natural images in colour, flip for others."""
    if not settings.augment:
        return lambda batch: batch
    return crop_and_flip(draws, n, reach=_REACH if _natural(images) else 0, flip=_mirrors(settings, images))


def _natural(images: ImageSpec) -> bool:
    """Whether images are in colour and may be mirrored: CIFAR-10 is such a set, SVHN is not."""
    return images.channels == 3 and "flip" in images.augmentation


def _mirrors(settings: Settings, images: ImageSpec) -> bool:
    return settings.flip == "always" or "flip" in images.augmentation


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """A classifier of the site's own data, from the initial weights that all sites share."""
    settings: Settings = task.settings
    data = site.data
    if len(data) == 0:
        return {}
    network = seeded_network(settings.client_spec(data.spec), key(task.seed, "initial network"), site.device)
    training = LocalTraining(
        settings.local_epochs,
        settings.local_batch_size,
        settings.local_learning_rate,
        settings.local_momentum,
        settings.local_weight_decay,
    )

    def augmentation_of(draws: np.random.Generator, samples: int) -> Augmentation:
        return local_augmentation(settings, data.spec, draws, samples)

    def on_epoch(done: int) -> None:
        report(f"{site.name} trains", done, settings.local_epochs)

    draws = generator(task.seed, "local training", site.name, 0)
    train_on_site(network, data, unit(data.spec), training, draws, augmentation_of, on_epoch)
    return {"model": model_section(network)}


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """Ask every site once, then distil their networks into one."""
    settings: Settings = fleet.settings
    spec = settings.client_spec(fleet.images)
    ask = Ask(expects={"model": expected_model(spec)})
    networks: dict[str, Network] = {}
    async for upload in fleet.ask(dict.fromkeys(fleet.sites, ask)):
        if "model" in upload.sections:
            networks[upload.site] = read_model(upload.sections["model"], spec, fleet.device)
    teachers = {site: networks[site] for site in fleet.sites if site in networks}
    if not teachers:
        raise RunFailedError("no site had anything to give: none holds data")
    student, pool = await fleet.compute(
        "distil", distil, list(teachers.values()), settings, fleet.images, fleet.seed, fleet.device
    )
    members = {f"ensemble/{site}": network for site, network in teachers.items()}
    judged = {"student": InUnits({"student": student}, fleet.images), "ensemble": InUnits(members, fleet.images)}
    synthetic = pool.newest(settings.images_per_class, fleet.images) if settings.yield_pool else None
    return Outcome(synthetic, networks=judged)


class Pool:
    """All synthesised images of a run, uint8, and the labels that they were asked for. Starts empty in every run."""

    def __init__(self, images: ImageSpec, most: int) -> None:
        # Memory that is not written to yet costs nothing.
        self._images = np.empty((most, images.channels, images.side, images.side), dtype=np.uint8)
        self._labels = np.empty(most, dtype=np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def images(self) -> NDArray[np.uint8]:
        """All images so far, oldest first."""
        return self._images[: self._size]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Their labels."""
        return self._labels[: self._size]

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Take in images [n, channels, side, side] in [0, 1], rounded to 8 bits."""
        end = self._size + len(images)
        pixels = (images.detach() * 255).round_().clamp_(0, 255).to(torch.uint8)
        self._images[self._size : end] = pixels.cpu().numpy()
        self._labels[self._size : end] = labels.cpu().numpy()
        self._size = end

    def newest(self, images_per_class: int, images: ImageSpec) -> SyntheticSet:
        """The newest images of each class as a synthetic set, sorted by class; all of a class that has fewer."""
        chosen = [np.flatnonzero(self.labels == label)[-images_per_class:] for label in range(images.classes)]
        order = np.concatenate(chosen)
        return SyntheticSet(images.normalise(self.images[order]), torch.from_numpy(self.labels[order]))


def distil(
    teachers: Sequence[Network], settings: Settings, images: ImageSpec, seed: int, device: Device
) -> tuple[Network, Pool]:
    """The student after all epochs, and the pool."""
    student = seeded_network(settings.student_spec(images), key(seed, "student"), device)
    optimiser = Sgd(trained(student), settings.learning_rate, settings.momentum)
    pool = Pool(images, settings.epochs * settings.synthesis_batch_size)
    for epoch in range(settings.epochs):
        pool.add(*synthesise(teachers, student, settings, images, seed, epoch))
        imitate(teachers, student, optimiser, pool, settings, images, generator(seed, "imitation", epoch))
        report("server distils", epoch + 1, settings.epochs)
    return student, pool


def synthesise(
    teachers: Sequence[Network], student: Network, settings: Settings, images: ImageSpec, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """A batch of images [n, channels, side, side] in [0, 1] and the labels [n] that they were made for.

    Of all steps of a fresh generator the batch with the lowest loss, as it was before it was cropped.
    """
    device, n = student.device.torch, settings.synthesis_batch_size
    draws = generator(seed, "synthesis", epoch)
    latents = torch.from_numpy(draws.standard_normal((n, settings.latent_size), dtype=np.float32)).to(device)
    labels = torch.from_numpy(np.sort(draws.integers(images.classes, size=n))).to(device)
    spec = GeneratorSpec(settings.latent_size, images.channels, images.side)
    moved = [*(weight.to(device) for weight in spec.draw(generator(seed, "generator", epoch))), latents]
    adam = Adam(settings.generator_learning_rate, first_decay=0.5, second_decay=0.999)
    state = adam.start(moved)
    best, lowest = torch.empty(0), torch.tensor(torch.inf, device=device)
    cropping = generator(seed, "synthesis", epoch, "crops")
    costs = [training_operations(network.spec) for network in (*teachers, student)]
    for step in range(settings.generator_steps):
        leaves = [tensor.detach().requires_grad_() for tensor in moved]
        made = generate(spec, leaves[:-1], leaves[-1])
        seen = synthesis_augmentation(settings, images, cropping, n)(made)
        loss = generator_loss(teachers, student, seen, labels, settings)
        gradients = torch.autograd.grad(loss, leaves)
        count(n * (3 * spec.operations() + sum(cost.forward + cost.to_image for cost in costs)))
        with torch.no_grad():
            # Chosen on the device: nobody waits for a number.
            better = loss < lowest
            best = made.detach() if step == 0 else torch.where(better, made, best)
            lowest = torch.where(better, loss, lowest)
            moved, state = adam.step(leaves, gradients, state)
    return best.detach(), labels


def generator_loss(
    teachers: Sequence[Network], student: Network, images: Tensor, labels: Tensor, settings: Settings
) -> Tensor:
    """Cross entropy of the ensemble, distance from the sites' running statistics, and the student's agreement."""
    scored = [observed_scores(network, images) for network in teachers]
    ensemble = torch.stack([scores for scores, _ in scored]).mean(dim=0)
    loss = settings.class_weight * functional.cross_entropy(ensemble, labels)
    loss = loss + settings.adversarial_weight * adversarial_loss(student.scores(images), ensemble)
    for network, (_, seen) in zip(teachers, scored, strict=True):
        loss = loss + settings.norm_weight * norm_loss(running(network), seen)
    return loss


def imitate(
    teachers: Sequence[Network],
    student: Network,
    optimiser: Sgd,
    pool: Pool,
    settings: Settings,
    images: ImageSpec,
    draws: np.random.Generator,
) -> None:
    """One pass of the student, in place, over the whole pool."""
    order = draws.permutation(len(pool))
    pixels, device = unit(images), student.device.torch
    cost = training_operations(student.spec)
    for start in range(0, len(pool), settings.batch_size):
        batch = pixels.normalise(pool.images[order[start : start + settings.batch_size]], device)
        seen = distillation_augmentation(settings, images, draws, len(batch))(batch)
        with torch.no_grad():
            wanted = ensemble_scores(teachers, seen)
        leaves = with_gradients(student)
        loss = distillation_loss(training_scores(leaves, seen), wanted, settings.temperature)
        optimiser.step(torch.autograd.grad(loss, trained(leaves)))
        count(len(batch) * (cost.forward + cost.to_weights))
        count(len(batch) * sum(training_operations(network.spec).forward for network in teachers))


# -- closed formulas -----------------------------------------------------------------------------


def upload_bytes(settings: Settings, images: ImageSpec) -> int:
    """Bytes of the tensors in a site's one upload, without the envelope: 4 B a weight or running statistic."""
    return 4 * sum(parameter.size for parameter in full_layout(settings.client_spec(images)))


def client_operations(settings: Settings, images: ImageSpec, samples: int) -> int:
    """Floating-point operations of `client` at a site with so many samples."""
    cost = training_operations(settings.client_spec(images))
    return settings.local_epochs * samples * (cost.forward + cost.to_weights)


def server_operations(settings: Settings, images: ImageSpec, teachers: int) -> int:
    """Floating-point operations of `distil` with so many teachers.

    In epoch e of E the pool holds e n images, so the student sees n E (E + 1) / 2 in all.
    """
    theirs, own = (training_operations(spec) for spec in (settings.client_spec(images), settings.student_spec(images)))
    made = GeneratorSpec(settings.latent_size, images.channels, images.side).operations()
    step = 3 * made + teachers * (theirs.forward + theirs.to_image) + own.forward + own.to_image
    synthesis = settings.epochs * settings.generator_steps * settings.synthesis_batch_size * step
    seen = settings.synthesis_batch_size * settings.epochs * (settings.epochs + 1) // 2
    return synthesis + seen * (teachers * theirs.forward + own.forward + own.to_weights)
