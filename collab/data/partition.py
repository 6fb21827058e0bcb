"""Who holds what: the division of the training samples among clients. One function a scheme."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.errors import PartitionError

Indices = NDArray[np.int64]
_SMALLEST_CLIENT = 10  # the published code draws again until every client has this many
_ATTEMPTS = 1000


def iid(labels: Indices, clients: int, generator: np.random.Generator) -> list[Indices]:
    """A random permutation cut into equal parts. Raises `PartitionError` for more clients than samples."""
    _check(len(labels), clients)
    return np.array_split(generator.permutation(len(labels)), clients)


def dirichlet(labels: Indices, clients: int, beta: float, generator: np.random.Generator) -> list[Indices]:
    """Each class divided by proportions drawn from Dir(beta, ..., beta), as in the paper (section 5).

    The smaller `beta`, the more skewed; a client may lack a class, or (many clients, small beta) hold nothing at
    all. Raises `PartitionError` for more clients than samples.
    """
    _check(len(labels), clients)
    parts: list[list[Indices]] = [[] for _ in range(clients)]
    for label in np.flatnonzero(np.bincount(labels)):
        members = generator.permutation(np.flatnonzero(labels == label))
        _deal(members, generator.dirichlet(np.full(clients, beta)), parts)
    return [np.sort(np.concatenate(part)) for part in parts]


def dirichlet_guaranteed(
    labels: Indices, clients: int, beta: float, guaranteed: int, generator: np.random.Generator
) -> list[Indices]:
    """The published code's split: first `guaranteed` samples of every class for every client, then Dirichlet.

    The rest is divided as in `dirichlet`, but a client that already holds its even share of all samples gets
    nothing more of a class, and the draw is repeated until every client has at least 10 of the rest. Raises
    `PartitionError` if the samples do not suffice.
    """
    _check(len(labels), clients)
    classes = np.flatnonzero(np.bincount(labels))
    pools = {int(label): generator.permutation(np.flatnonzero(labels == label)) for label in classes}
    for label, pool in pools.items():
        if len(pool) < guaranteed * clients:
            raise PartitionError(
                f"class {label} has {len(pool)} samples, but {clients} clients with {guaranteed} guaranteed each "
                f"need {guaranteed * clients}; lower partition.guaranteed or partition.clients"
            )
    fixed = [
        np.concatenate([pools[int(label)][client * guaranteed : (client + 1) * guaranteed] for label in classes])
        for client in range(clients)
    ]
    rest = {label: pool[clients * guaranteed :] for label, pool in pools.items()}
    left = sum(map(len, rest.values()))
    smallest = min(_SMALLEST_CLIENT, left // clients)
    for _ in range(_ATTEMPTS):
        parts: list[list[Indices]] = [[] for _ in range(clients)]
        for members in rest.values():
            proportions = generator.dirichlet(np.full(clients, beta))
            held = np.array([sum(map(len, part)) for part in parts])
            proportions = proportions * (held < len(labels) / clients)
            if proportions.sum() == 0:
                break
            _deal(generator.permutation(members), proportions / proportions.sum(), parts)
        else:
            if min(sum(map(len, part)) for part in parts) >= smallest:
                return [np.sort(np.concatenate([own, *part])) for own, part in zip(fixed, parts, strict=True)]
    raise PartitionError(
        f"no draw of {_ATTEMPTS} gave each of {clients} clients {smallest} samples at beta = {beta}; "
        "raise partition.beta or lower partition.clients"
    )


def _deal(members: Indices, proportions: NDArray[np.float64], parts: list[list[Indices]]) -> None:
    """Cut `members` by cumulative proportions, rounded down."""
    cuts = (np.cumsum(proportions)[:-1] * len(members)).astype(np.int64)
    for part, piece in zip(parts, np.split(members, cuts), strict=True):
        part.append(piece)


def _check(samples: int, clients: int) -> None:
    if clients > samples:
        raise PartitionError(f"{clients} clients cannot share {samples} training samples; lower partition.clients")
