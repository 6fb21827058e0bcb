"""A fleet without a network, for testing methods by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from collab.compute import CPU
from collab.data import Dataset, GaussiansSettings, SiteData, load_dataset
from collab.methods import Site, Task, Upload, check_sections
from collab.privacy.site_secret import laboratory_secret


def gaussians(**settings: Any) -> Dataset:
    """A small data set of four classes."""
    return load_dataset(GaussiansSettings(name="gaussians", **{"samples_per_class": 30, **settings}), 0)


class LocalFleet:
    """Calls the client function of each site in turn; what it returns is checked as the server would."""

    def __init__(self, method: Any, settings: Any, dataset: Dataset, parts: list[np.ndarray], seed: int = 1) -> None:
        self.method, self.settings, self.seed = method, settings, seed
        self.images = dataset.spec
        self.device = CPU
        self.data = {f"client-{i}": SiteData(dataset.train.take(part), dataset.spec) for i, part in enumerate(parts)}
        self.sites = tuple(self.data)
        self.uploads: list[Upload] = []
        self.asked: list[Mapping[str, Any]] = []
        self.order = list(self.sites)

    @property
    def share(self) -> int:
        return self.settings.images_per_site(len(self.sites))

    async def ask(self, asks):
        self.asked.append(asks)
        for site in (site for site in self.order if site in asks):
            ask = asks[site]
            task = Task("task", "method", self.settings, self.seed, self.share, ask.sections)
            sections = self.method.client(task, Site(site, self.data[site], self.device, laboratory_secret(1, site)))
            check_sections(sections, ask.expects)
            upload = Upload(site, sections)
            self.uploads.append(upload)
            yield upload

    async def compute(self, name, function, *args):
        return function(*args)

    def run(self, server=None):
        return asyncio.run((server or self.method.server)(self))


def even_parts(dataset: Dataset, clients: int) -> list[np.ndarray]:
    """Each client the same number of every class."""
    return [np.arange(client, len(dataset.train), clients) for client in range(clients)]


def skewed_parts(dataset: Dataset) -> list[np.ndarray]:
    """Three clients of 4-class data: one has two classes, one a single sample of a class, one everything else."""
    labels = dataset.train.labels
    where = [np.flatnonzero(labels == y) for y in range(4)]
    first = np.concatenate([where[0][:20], where[1][:10]])
    second = np.concatenate([where[2][:1], where[1][10:20]])
    rest = np.setdiff1d(np.arange(len(labels)), np.concatenate([first, second]))
    return [first, second, rest]
