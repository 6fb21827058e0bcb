"""Who holds what: the division of the training samples among clients. One file a scheme, `divide` its function.

Every scheme gives every sample to exactly one client. Samples that several sites hold (a patient seen twice), and
features that look different at each site (another scanner), are not modelled; sites of a real data set bring the
latter along (`by_column`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab.data.partition_settings import (
    AnyPartition,
    ByColumnSettings,
    DirichletSettings,
    GuaranteedSettings,
    IidSettings,
    PathologicalSettings,
    QuantitySkewSettings,
)
from collab.data.partitions import by_column, dirichlet, dirichlet_guaranteed, iid, pathological, quantity_skew
from collab.data.partitions.dealing import Indices
from simnet.draws import generator


def divide(
    settings: AnyPartition,
    labels: Indices,
    images_per_class: int,
    seed: int,
    sites: NDArray[np.str_] | None = None,
) -> list[Indices]:
    """Indices of the training samples of each client, int64, from their labels and, if the data set knows it, sites.

    `images_per_class` is what `dirichlet_guaranteed` guarantees if its settings do not say. Raises
    `collab.errors.PartitionError` if it cannot be done.
    """
    draws = generator(seed, "partition")
    clients = settings.clients
    match settings:
        case IidSettings():
            return iid.divide(labels, clients, draws)
        case DirichletSettings():
            return dirichlet.divide(labels, clients, settings.beta, draws)
        case GuaranteedSettings():
            guaranteed = images_per_class if settings.guaranteed is None else settings.guaranteed
            return dirichlet_guaranteed.divide(labels, clients, settings.beta, guaranteed, draws)
        case PathologicalSettings():
            return pathological.divide(labels, clients, settings.classes_per_client, draws)
        case QuantitySkewSettings():
            return quantity_skew.divide(labels, clients, settings.beta, settings.minimum_samples, draws)
        case ByColumnSettings():
            return by_column.divide(sites, clients)


__all__ = ["Indices", "divide"]
