"""Data sets and their division over clients."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collab.data import partition
from collab.data.dataset import Dataset, ImageSpec, Samples, SiteData
from collab.data.loading import DATA_DIR_VARIABLE, data_dir, load_dataset
from collab.data.partition import Indices
from collab.data.settings import DatasetSettings, DigitsSettings, GaussiansSettings, IdxSettings, Settings
from simnet.draws import generator


class _PartitionSettings(Settings):
    clients: int = Field(5, ge=1, le=1_000_000, description="number of sites")


class IidSettings(_PartitionSettings):
    """Every client gets a random share of equal size."""

    scheme: Literal["iid"]


class DirichletSettings(_PartitionSettings):
    """Skewed as in the paper: each class divided by Dir(beta); a client may lack a class."""

    scheme: Literal["dirichlet"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")


class GuaranteedSettings(_PartitionSettings):
    """Skewed as in the published code: some samples of every class for every client, then Dirichlet."""

    scheme: Literal["dirichlet_guaranteed"]
    beta: float = Field(gt=0, description="the smaller, the more skewed; the paper uses 0.1, 0.3 and 0.5")
    guaranteed: int | None = Field(
        None, ge=0, description="samples of each class for every client; the method's images per class if not given"
    )


PartitionSettings = Annotated[IidSettings | DirichletSettings | GuaranteedSettings, Field(discriminator="scheme")]


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
