"""The division that is there already: every site of the data set is a client."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.data.partitions.dealing import Indices, holdings
from collab.data.sites import site_names
from collab.errors import PartitionError

_MOST_NAMES = 20


def divide(sites: NDArray[np.str_] | None, clients: int) -> list[Indices]:
    """The samples of every site, the sites in the order of `collab.data.sites.site_names`; nothing is drawn.

    Raises `PartitionError` if the data set names no sites, or if there are more or fewer than `clients`.
    """
    if sites is None:
        raise PartitionError(
            "the scheme by_column needs samples that name their site, and this data set has none; use a data set that "
            "does (an image folder with sites), or another partition.scheme"
        )
    names = site_names(sites)
    if len(names) != clients:
        listed = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
        raise PartitionError(
            f"partition.clients is {clients}, but the training samples come from {len(names)} "
            f"{'site' if len(names) == 1 else 'sites'} ({listed}); set partition.clients to {len(names)}"
        )
    number = {name: index for index, name in enumerate(names)}
    return holdings(np.array([number[site] for site in sites.tolist()], dtype=np.int64), clients)
