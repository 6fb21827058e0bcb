"""Data sets and their division over clients."""

from __future__ import annotations

from collab.data import partition
from collab.data.dataset import Dataset, ImageSpec, Samples, SiteData
from collab.data.loading import DATA_DIR_VARIABLE, data_dir, load_dataset
from collab.data.partition import Indices
from collab.data.partition_settings import (
    DirichletSettings,
    GuaranteedSettings,
    IidSettings,
    PartitionSettings,
)
from collab.data.settings import DatasetSettings, DigitsSettings, GaussiansSettings, IdxSettings
from simnet.draws import generator


def divide(
    settings: IidSettings | DirichletSettings | GuaranteedSettings,
    labels: Indices,
    images_per_class: int,
    seed: int,
) -> list[Indices]:
    """Indices of the training samples of each client. Raises `collab.errors.PartitionError` if it cannot be done."""
    draws = generator(seed, "partition")
    match settings:
        case IidSettings():
            return partition.iid(labels, settings.clients, draws)
        case DirichletSettings():
            return partition.dirichlet(labels, settings.clients, settings.beta, draws)
        case GuaranteedSettings():
            guaranteed = images_per_class if settings.guaranteed is None else settings.guaranteed
            return partition.dirichlet_guaranteed(labels, settings.clients, settings.beta, guaranteed, draws)


__all__ = [
    "DATA_DIR_VARIABLE",
    "Dataset",
    "DatasetSettings",
    "DigitsSettings",
    "DirichletSettings",
    "GaussiansSettings",
    "GuaranteedSettings",
    "IdxSettings",
    "IidSettings",
    "ImageSpec",
    "PartitionSettings",
    "Samples",
    "SiteData",
    "data_dir",
    "divide",
    "load_dataset",
]
