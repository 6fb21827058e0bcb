"""What the schemes of partition share: counts of samples dealt into lists of samples, and the checks.

A scheme decides how many samples of a class every client gets; which ones they are is a matter of a shuffled pile that
is dealt from the top. The result is one `owner` per sample, so a scheme cannot lose a sample or hand it out twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.errors import PartitionError

Indices = NDArray[np.int64]


def proportions(clients: int, beta: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """A draw from the symmetric Dirichlet distribution Dir(beta, ..., beta), float64 [clients], of sum 1.

    Raises `PartitionError` for a `beta` that is no positive number, or so extreme that float64 has no such draw.
    """
    if not 0 < beta < np.inf:
        raise PartitionError(f"beta is {beta}; expected a positive number, e.g. partition.beta: 0.1")
    shares = generator.dirichlet(np.full(clients, beta))
    if not np.isclose(shares.sum(), 1.0):  # also where the sum is no number
        raise PartitionError(
            f"beta = {beta:g} is too extreme for {clients} clients: the shares that were drawn add up to "
            f"{shares.sum():g}; expected a partition.beta between 0.001 and 1e6"
        )
    return shares


def cut(samples: int, shares: NDArray[np.float64]) -> Indices:
    """How many of `samples` each share makes, int64 [clients]: cumulative shares, each rounded down."""
    cuts = (np.cumsum(shares)[:-1] * samples).astype(np.int64)
    return np.diff(cuts, prepend=0, append=samples)


def deal(pile: Indices, sizes: Indices, owner: Indices) -> None:
    """Give the first `sizes[0]` samples of the pile to client 0, the next to client 1, ...; noted in `owner`."""
    owner[pile] = np.repeat(np.arange(len(sizes)), sizes)


def holdings(owner: Indices, clients: int) -> list[Indices]:
    """The samples of each client, ascending, from the owner of each sample, int64 [samples]."""
    by_owner = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=clients))
    return np.split(by_owner, ends[:-1])


def classes_of(labels: Indices) -> Indices:
    """The classes of which there are samples, ascending."""
    return np.flatnonzero(np.bincount(labels))


def check_clients(samples: int, clients: int) -> None:
    """Raises `PartitionError` for more clients than samples."""
    if clients > samples:
        raise PartitionError(f"{clients} clients cannot share {samples} training samples; lower partition.clients")
