"""How flows share links: weighted max-min fairness by water filling. Pure functions on arrays.

An allocation is max-min fair if no flow can get more without taking from one that has no more than it
(Bertsekas and Gallager, Data Networks, 2nd ed., section 6.5.2). Water filling raises the level of all flows
together, each in proportion to its weight; a flow stops at its own limit or when a link on its path is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FULL = 1e-12  # relative slack within which links count as filled at the same level


def max_min(
    capacity: FloatArray,
    path_start: IntArray,
    path_links: IntArray,
    weight: FloatArray | None = None,
    limit: FloatArray | None = None,
    count: FloatArray | None = None,
) -> FloatArray:
    """Weighted max-min fair rates, in the unit of `capacity`.

    Args:
        capacity: capacity of each link, shape [L], positive.
        path_start: where each flow's path begins in `path_links`, shape [F + 1] (compressed rows).
        path_links: indices of the links of all paths, one after another, shape [sum of path lengths].
        weight: share of each flow where it is held back by a link, shape [F], positive; 1 if not given.
        limit: the most that each flow can use, shape [F]; infinite if not given.
        count: how many flows each row stands for, all alike, shape [F]; 1 if not given.

    Returns:
        The rate of each flow (of each of `count` alike), shape [F]. A flow that crosses no link gets its limit.
    """
    flows = len(path_start) - 1
    weights = np.ones(flows) if weight is None else weight
    limits = np.full(flows, np.inf) if limit is None else limit
    counts = np.ones(flows) if count is None else count
    hops = np.diff(path_start)
    flow_of_hop = np.repeat(np.arange(flows), hops)
    rate = np.zeros(flows)
    growing = hops > 0
    left = capacity.astype(np.float64, copy=True)

    while growing.any():
        live_hops = growing[flow_of_hop]
        load = np.bincount(
            path_links[live_hops], weights=(weights * counts)[flow_of_hop[live_hops]], minlength=len(capacity)
        )
        used = load > 0
        link_level = np.full(len(capacity), np.inf)
        np.divide(left, load, out=link_level, where=used)
        flow_level = np.where(growing, (limits - rate) / weights, np.inf)
        level = max(min(link_level.min(initial=np.inf), flow_level.min()), 0.0)

        gained = np.where(growing, weights * level, 0.0)
        rate += gained
        left -= np.bincount(path_links, weights=(gained * counts)[flow_of_hop], minlength=len(capacity))
        np.maximum(left, 0.0, out=left)

        full = used & (link_level <= level * (1 + _FULL))
        held_back = np.zeros(flows, dtype=bool)
        held_back[flow_of_hop[live_hops & full[path_links]]] = True
        growing &= ~(held_back | (flow_level <= level * (1 + _FULL)))
    return np.where(hops == 0, limits, rate)


class Competitor(Protocol):
    """Flows that are alike: the links that they share with others, and see `max_min` for the rest."""

    links: tuple[int, ...]
    weight: float
    limit: float
    count: int
    level: float
    """limit / weight: the level at which the limit is reached."""


def share(capacity: Mapping[int, float], competitors: Sequence[Competitor]) -> list[float]:
    """The weighted max-min fair rate of each competitor, in the unit of `capacity`; by the shortest way to it.

    Where nobody shares more than one link, each link is filled by itself: the competitor whose limit is reached at the
    lowest level first, what it leaves goes to the others.
    """
    rates = [competitor.limit for competitor in competitors]
    on_link: dict[int, list[int]] = {}
    demand = dict.fromkeys(capacity, 0.0)
    for index, competitor in enumerate(competitors):
        links = competitor.links
        if links:
            if len(links) > 1:
                return _share_in_general(capacity, competitors)
            link = links[0]
            demand[link] += competitor.limit * competitor.count
            if link in on_link:
                on_link[link].append(index)
            else:
                on_link[link] = [index]
    for link, indices in on_link.items():
        if demand[link] > capacity[link]:  # else all get what they can use
            _fill(capacity[link], indices, competitors, rates)
    return rates


def _fill(left: float, indices: list[int], competitors: Sequence[Competitor], rates: list[float]) -> None:
    """Share `left` of one link among the competitors with these indices, in order of the levels of their limits."""
    load = 0.0
    for index in indices:
        competitor = competitors[index]
        load += competitor.weight * competitor.count
    indices.sort(key=lambda index: competitors[index].level)
    for position, index in enumerate(indices):
        competitor = competitors[index]
        level = left / load
        if competitor.level > level:
            for other in indices[position:]:
                rates[other] = level * competitors[other].weight
            break
        left = max(left - competitor.limit * competitor.count, 0.0)
        load -= competitor.weight * competitor.count


def _share_in_general(capacity: Mapping[int, float], competitors: Sequence[Competitor]) -> list[float]:
    place = {link: index for index, link in enumerate(capacity)}
    hops = [len(competitor.links) for competitor in competitors]
    rates = max_min(
        np.fromiter(capacity.values(), np.float64, len(capacity)),
        np.concatenate(([0], np.cumsum(hops, dtype=np.int64))).astype(np.int64),
        np.fromiter((place[link] for competitor in competitors for link in competitor.links), np.int64),
        weight=np.array([competitor.weight for competitor in competitors]),
        limit=np.array([competitor.limit for competitor in competitors]),
        count=np.array([competitor.count for competitor in competitors], dtype=np.float64),
    )
    return [float(rate) for rate in rates]
