"""Label skew by Dirichlet draws, as the published code of the paper does it.

What sets it apart from `collab.data.partitions.dirichlet` is what a small client looks like: every client first gets
samples of every class, and no client gets much more than an even share of the whole.
"""

from __future__ import annotations

import numpy as np

from collab.data.partitions.dealing import Indices, check_clients, classes_of, cut, deal, holdings, proportions
from collab.errors import PartitionError

_SMALLEST_CLIENT = 10  # the published code draws again until every client has this many
_ATTEMPTS = 1000


def divide(
    labels: Indices, clients: int, beta: float, guaranteed: int, generator: np.random.Generator
) -> list[Indices]:
    """The published code's split: first `guaranteed` samples of every class for every client, then Dirichlet.

    The rest is divided as the paper writes it, but a client that already holds its even share of all samples gets
    nothing more of a class, and the draw is repeated until every client has at least 10 of the rest. Raises
    `PartitionError` if the samples do not suffice.
    """
    check_clients(len(labels), clients)
    piles = [generator.permutation(np.flatnonzero(labels == label)) for label in classes_of(labels)]
    owner = np.empty(len(labels), dtype=np.int64)
    for pile in piles:
        if len(pile) < guaranteed * clients:
            raise PartitionError(
                f"class {labels[pile[0]]} has {len(pile)} samples, but {clients} clients with {guaranteed} guaranteed "
                f"each need {guaranteed * clients}; lower partition.guaranteed or partition.clients"
            )
        deal(pile[: guaranteed * clients], np.full(clients, guaranteed), owner)
    rest = [pile[guaranteed * clients :] for pile in piles]
    smallest = min(_SMALLEST_CLIENT, sum(map(len, rest)) // clients)
    for _ in range(_ATTEMPTS):
        held = _divide_rest(rest, beta, len(labels) / clients, clients, owner, generator)
        if held is not None and held.min() >= smallest:
            return holdings(owner, clients)
    raise PartitionError(
        f"no draw of {_ATTEMPTS} gave each of {clients} clients {smallest} samples at beta = {beta}; "
        "raise partition.beta, or lower partition.clients or partition.guaranteed"
    )


def _divide_rest(
    rest: list[Indices], beta: float, capacity: float, clients: int, owner: Indices, generator: np.random.Generator
) -> Indices | None:
    """One draw: notes the owners, returns how much of the rest each client got; None if nobody may take a class."""
    held = np.zeros(clients, dtype=np.int64)
    for pile in rest:
        shares = proportions(clients, beta, generator) * (held < capacity)
        if shares.sum() == 0:
            return None
        sizes = cut(len(pile), shares / shares.sum())
        deal(generator.permutation(pile), sizes, owner)
        held += sizes
    return held
