"""Label skew by classes: every client holds samples of a few classes only.

After McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017
(arXiv:1602.05629, section 3): samples sorted by class are cut into shards of equal size, and every client gets the same
number of them (there 200 shards of MNIST, two for each of 100 clients). One departure: there a shard may straddle two
classes and a client may get two shards of one class, so that "most" clients hold two; here a shard is of one class, and
the shards of a client are of different ones, so that none holds more than it should. Shards of one class are therefore
of equal size to within a sample, those of different classes nearly so.

FedD3 divides in this way too (C_k classes per client).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.data.partitions.dealing import Indices, check_clients, classes_of, deal, holdings
from collab.errors import PartitionError

_BLOCK = 4096  # clients whose random numbers are drawn at once


def divide(labels: Indices, clients: int, classes_per_client: int, generator: np.random.Generator) -> list[Indices]:
    """Every client gets shards of `classes_per_client` different classes; every class and every sample is held.

    Where a class has fewer samples than there are clients that should hold it, some clients get a class less; no
    client gets none. Raises `PartitionError` for more clients than samples, more classes a client than there are,
    or so few that not every class finds a client.
    """
    check_clients(len(labels), clients)
    classes = classes_of(labels)
    if not 1 <= classes_per_client <= len(classes):
        raise PartitionError(
            f"{classes_per_client} classes per client, but the training samples have {len(classes)}; "
            f"set partition.classes_per_client to 1 ... {len(classes)}"
        )
    if clients * classes_per_client < len(classes):
        raise PartitionError(
            f"{clients} clients with {classes_per_client} classes each can hold {clients * classes_per_client} of "
            f"{len(classes)} classes, and the rest would be lost; set partition.classes_per_client to "
            f"{-(-len(classes) // clients)} or partition.clients to {-(-len(classes) // classes_per_client)} at least"
        )
    members = [np.flatnonzero(labels == label) for label in classes]
    shards = _shards_of_classes(np.array([len(of_class) for of_class in members]), clients, classes_per_client)
    holders = _deal_classes(shards, clients, generator)
    owner = np.empty(len(labels), dtype=np.int64)
    for of_class, who in zip(members, holders, strict=True):
        sizes = np.zeros(clients, dtype=np.int64)
        sizes[who] = len(of_class) // len(who)
        sizes[generator.permutation(who)[: len(of_class) % len(who)]] += 1
        deal(generator.permutation(of_class), sizes, owner)
    return holdings(owner, clients)


def _shards_of_classes(sizes: Indices, clients: int, classes_per_client: int) -> Indices:
    """Into how many shards each class is cut, int64 [classes]: as even in size as can be.

    No class into more than it has samples, or than there are clients (each of which takes one at most).
    """
    most = np.minimum(sizes, clients)
    wanted = min(clients * classes_per_client, int(most.sum()))
    low, high = 0.0, 2.0 * wanted  # shards per sample; at `high` every class is cut as often as it may be
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if np.clip(middle * sizes, 1, most).sum() >= wanted else (middle, high)
    exact = np.clip(high * sizes, 1, most)
    shards: Indices = np.floor(exact).astype(np.int64)
    for _ in range(wanted - int(shards.sum())):  # fewer than there are classes
        shards[np.argmax(np.where(shards < most, exact - shards, -np.inf))] += 1
    return shards


def _deal_classes(shards: Indices, clients: int, generator: np.random.Generator) -> list[Indices]:
    """Who gets a shard of each class: no client two of one class, and every client equally many, to within one.

    Client after client takes different classes at random, each in proportion to its shards that are left; a class with
    a shard left for each of the remaining clients must be taken. That never runs into a dead end, since then no class
    has more shards than there are clients left, whose number of shards is even (Gale and Ryser 1957).
    """
    each, more = divmod(int(shards.sum()), clients)
    takes = np.full(clients, each)
    takes[generator.permutation(clients)[:more]] += 1
    left = shards.astype(np.float64)
    held = np.zeros((clients, len(shards)), dtype=np.bool_)
    waits: NDArray[np.float64] = np.empty(0)
    for client in range(clients):
        if client % _BLOCK == 0:
            waits = generator.standard_exponential((min(_BLOCK, clients - client), len(shards)))
        # The first of exponential waiting times with these rates: a draw without replacement by weight.
        order = np.full(len(shards), np.inf)
        np.divide(waits[client % _BLOCK], left, out=order, where=left > 0)
        order[left == clients - client] = -1.0
        chosen = np.argsort(order)[: takes[client]]
        held[client, chosen] = True
        left[chosen] -= 1
    return [np.flatnonzero(of_class) for of_class in held.T]
