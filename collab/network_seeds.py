"""The networks under which sites embed their data: their seeds, who serves which, and how that travels in a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from collab.expectations import Sections
from collab.wire import Section, encode
from simnet.draws import generator, key


class SeedSettings(Protocol):
    """What of a method's settings decides about networks."""

    @property
    def networks_served(self) -> int:
        """How many there are."""

    @property
    def participation(self) -> float:
        """The share of the sites that serve each network."""


def network_seeds(seed: int, iterations: int) -> list[int]:
    """The seeds alpha_1 ... alpha_T of the networks."""
    return [key(seed, "network", iteration) for iteration in range(iterations)]


def participants(settings: SeedSettings, sites: Sequence[str], seed: int) -> Mapping[str, list[int]]:
    """The iterations that each site serves: Z_t holds max(int(epsilon K), 1) sites, drawn without replacement."""
    size = max(int(settings.participation * len(sites)), 1)
    takers: dict[str, list[int]] = {site: [] for site in sites}
    for iteration in range(settings.networks_served):
        chosen = generator(seed, "participants", iteration).choice(len(sites), size, replace=False)
        for index in sorted(chosen.tolist()):
            takers[sites[index]].append(iteration)
    return takers


def networks_of(section: Section, networks: int) -> tuple[list[int], list[int]]:
    """The iterations that a task asks a site for, and the seeds of their networks: told, or derived from a master;
    `networks` is how many there are.
    """
    told: list[int] | None = section["iterations"].values().tolist() if "iterations" in section else None
    if "master" not in section:
        return told or [], section["networks"].values().tolist()
    derived = network_seeds(int(section["master"].values()[0]), networks)
    iterations = list(range(networks)) if told is None else told
    return iterations, [derived[iteration] for iteration in iterations]


def seeds_sent(seeds: Sequence[int], iterations: Sequence[int]) -> Section:
    """The iterations that a site serves, and the seeds of their networks."""
    return {
        "iterations": encode(np.asarray(iterations, dtype=np.uint32)),
        "networks": encode(np.asarray([seeds[iteration] for iteration in iterations], dtype=np.uint64)),
    }


def by_master(sections: Sections, settings: SeedSettings, seed: int) -> Sections:
    """The sections of a task with one seed in place of the networks'; iterations go along only if they are not all."""
    sent = {"master": encode(np.asarray([seed], dtype=np.uint64))}
    if settings.participation < 1:
        sent["iterations"] = sections["seeds"]["iterations"]
    return {**sections, "seeds": sent}
