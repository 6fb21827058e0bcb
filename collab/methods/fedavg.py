"""FedAvg: many rounds of local training and averaging of weights. The yardstick of learning without sharing data.

McMahan, Moore, Ramage, Hampson and Agueera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data" (AISTATS 2017), arXiv:1602.05629, Algorithm 1. In each round max(C K, 1) of the K sites, drawn at
random, get the global weights, train them for E epochs on their own data, in batches of B, and send them back; the
new global weights are the mean, weighted by the sites' numbers of samples.

The result is a network, no synthetic set. Every round costs each site that takes part the weights twice, down and up,
whatever its data; `upload_bytes` says how many. A site without data gives nothing and does not count.

The paper tunes the learning rate for each of its data sets; the default here was tried on MNIST. Not modelled: rounds
that close before all sites of the round have answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from collab.augment import Augmentation, per_sample
from collab.compute import Device, report
from collab.data import ImageSpec
from collab.errors import RunFailedError
from collab.methods import (
    Ask,
    Expected,
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
from collab.nets.training import training_operations
from collab.training import LocalTraining, train_on_site
from collab.wire import Section, encode
from simnet.draws import generator, key

UPLOADS = frozenset({"model"})
TASKS = frozenset({"model"})

_LARGEST_COUNT = 10**8
_MOST_SAMPLES = 2**30  # of all sites together: with more, the sums below could overflow


class Settings(MethodSettings):
    """Settings of FedAvg; local epochs and batches are the paper's for images in colour (section 3)."""

    rounds: int = Field(20, ge=1, le=100_000, description="how often weights are averaged")
    local_epochs: int = Field(5, ge=1, description="E: passes over a site's data in a round")
    batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        50, description="B: samples behind one local step, or all that the site holds"
    )
    learning_rate: float = Field(0.05, gt=0, description="of the local steps")
    momentum: float = Field(0.0, ge=0, lt=1, description="of the local steps; starts anew in every round")
    weight_decay: float = Field(0.0, ge=0, description="of the local steps")
    participation: float = Field(1.0, gt=0, le=1, description="C: share of the sites that take part in a round")
    augment: bool = Field(False, description="augment the training batches by the data set's strategy")


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """The weights of the task, trained on the site's own data."""
    return train_round(task, site)


def train_round(task: Task, site: Site, pull: float = 0.0) -> Sections:
    """A site's part of a round; `pull` is FedProx's mu."""
    settings: Settings = task.settings
    data = site.data
    if len(data) == 0:
        return {}
    section = task.sections["model"]
    number = int(section["round"].values()[0])
    network = read_model(section, settings.network(data.spec), site.device)
    size = None if settings.batch_size == "all" else settings.batch_size
    training = LocalTraining(
        settings.local_epochs, size, settings.learning_rate, settings.momentum, settings.weight_decay, pull
    )
    strategy = settings.strategy(data.spec)

    def augmentation_of(draws: np.random.Generator, samples: int) -> Augmentation:
        return per_sample(strategy, draws, samples)

    def on_epoch(done: int) -> None:
        report(f"{site.name} trains, round {number + 1}", done, settings.local_epochs)

    draws = generator(task.seed, "local training", site.name, number)
    train_on_site(network, data, data.spec, training, draws, augmentation_of if strategy else None, on_epoch)
    return {"model": {**model_section(network), "samples": encode(np.asarray([len(data)], dtype=np.int64))}}


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """Round after round: send the weights to some sites, average what comes back."""
    settings: Settings = fleet.settings
    spec = settings.network(fleet.images)
    network = seeded_network(spec, key(fleet.seed, "initial network"), fleet.device)
    given = False
    for number in range(settings.rounds):
        average = WeightedAverage(spec)
        ask = _ask(network, number)
        async for upload in fleet.ask(dict.fromkeys(participants(settings, fleet.sites, fleet.seed, number), ask)):
            if "model" in upload.sections:
                average.add(upload.sections["model"])
        if average.samples:
            network, given = average.network(fleet.device), True
        report("server averages, round", number + 1, settings.rounds)
    if not given:
        raise RunFailedError("no site had anything to give: none that was asked holds data")
    return Outcome(None, networks={"average": network})


def participants(settings: Settings, sites: Sequence[str], seed: int, number: int) -> list[str]:
    """The sites that take part in a round: max(C K, 1), rounded down, drawn without replacement."""
    size = max(int(settings.participation * len(sites)), 1)
    chosen = generator(seed, "participants", number).choice(len(sites), size, replace=False)
    return [sites[index] for index in sorted(chosen.tolist())]


def _ask(network: Network, number: int) -> Ask:
    sent = {**model_section(network), "round": encode(np.asarray([number], dtype=np.uint32))}
    expected = {**expected_model(network.spec), "samples": Expected("int64", (1,), 1, _LARGEST_COUNT)}
    return Ask({"model": sent}, {"model": expected})


class WeightedAverage:
    """Running sums of weights times numbers of samples: the server's memory does not grow with the number of sites.

    The sums are kept in fixed point, whole multiples of 2^-40 in two integers, so they do not depend on the order in
    which uploads arrive: a run over sockets and a simulated one end in the same bits. A float32 weight above 2^-17 is
    such a multiple; a smaller one is rounded by less than 10^-12.
    """

    _STEPS = 2.0**40
    _LOW_BITS = 32

    def __init__(self, spec: NetworkSpec) -> None:
        self.samples = 0
        """Of all sites so far."""
        self._spec = spec
        self._high = [np.zeros(parameter.shape, dtype=np.int64) for parameter in full_layout(spec)]
        self._low = [np.zeros(parameter.shape, dtype=np.int64) for parameter in full_layout(spec)]

    def add(self, section: Section) -> None:
        """Fold in one site's weights. Raises `RunFailedError` for more samples than there can be."""
        samples = int(section["samples"].values()[0])
        if self.samples + samples > _MOST_SAMPLES:
            raise RunFailedError(f"the sites of a round claim more than {_MOST_SAMPLES} samples together")
        self.samples += samples
        for index, parameter in enumerate(full_layout(self._spec)):
            fixed = np.rint(section[parameter.name].values().astype(np.float64) * self._STEPS).astype(np.int64)
            self._high[index] += (fixed >> self._LOW_BITS) * samples
            self._low[index] += (fixed & (2**self._LOW_BITS - 1)) * samples

    def network(self, device: Device) -> Network:
        """A network with the averages. There must be samples."""
        weights = [self._mean(high, low) for high, low in zip(self._high, self._low, strict=True)]
        return Network(self._spec, [weight.to(device.torch) for weight in weights], device)

    def _mean(self, high: NDArray[np.int64], low: NDArray[np.int64]) -> Tensor:
        total = high.astype(np.float64) * 2.0**self._LOW_BITS + low.astype(np.float64)
        return torch.from_numpy((total / (self.samples * self._STEPS)).astype(np.float32))


def upload_bytes(settings: Settings, images: ImageSpec) -> int:
    """Closed formula: bytes of the tensors in one upload, without the envelope; a task is 4 B smaller.

    4 B a weight, and 8 B for the number of samples. A run costs a site this, up and down, in every round that it
    takes part in.
    """
    return 4 * sum(parameter.size for parameter in full_layout(settings.network(images))) + 8


def client_operations(settings: Settings, images: ImageSpec, samples: int) -> int:
    """Closed formula: floating-point operations of `client` in one round at a site with so many samples."""
    cost = training_operations(settings.network(images))
    return settings.local_epochs * samples * (cost.forward + cost.to_weights)
