"""Data sets and their division over clients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from collab.augment import Operation
from collab.data import digits, gaussians, idx, partition
from collab.data.dataset import Dataset, ImageSpec, Samples, SiteData
from collab.data.idx import Progress
from collab.data.partition import Indices
from simnet.draws import generator

DATA_DIR_VARIABLE = "COLLAB_DATA_DIR"

# Digits are never mirrored: a mirrored 2 is no digit (sheet of the DC authors; the published code mirrors all).
_UPRIGHT: tuple[Operation, ...] = ("color", "crop", "cutout", "scale", "rotate")
_ANY: tuple[Operation, ...] = ("color", "crop", "cutout", "flip", "scale", "rotate")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _DatasetSettings(_Settings):
    train_samples: int | None = Field(None, ge=1, description="use only this many training samples, drawn once")
    test_samples: int | None = Field(None, ge=1, description="use only this many test samples, drawn once")


class DigitsSettings(_DatasetSettings):
    """1,797 handwritten digits that come with the package; needs no download."""

    name: Literal["digits"]
    side: int = Field(16, ge=16, le=64, description="pixels that the 8x8 images are enlarged to")


class IdxSettings(_DatasetSettings):
    """MNIST or Fashion-MNIST, 28x28, from the data directory or by download."""

    name: Literal["mnist", "fashion-mnist"]


class GaussiansSettings(_DatasetSettings):
    """Random smooth images with noise, for tests and for measuring."""

    name: Literal["gaussians"]
    classes: int = Field(4, ge=2, le=256)
    channels: Literal[1, 3] = 1
    side: int = Field(16, ge=8, le=64)
    samples_per_class: int = Field(100, ge=1)


DatasetSettings = Annotated[DigitsSettings | IdxSettings | GaussiansSettings, Field(discriminator="name")]


class _PartitionSettings(_Settings):
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


def data_dir() -> Path:
    """The data directory: `COLLAB_DATA_DIR`, or a folder in the user's cache."""
    chosen = os.environ.get(DATA_DIR_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "collab" / "data"


def load_dataset(
    settings: DigitsSettings | IdxSettings | GaussiansSettings,
    seed: int,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read (or download, or make) a data set. Raises `collab.errors.DataError` if that fails."""
    match settings:
        case DigitsSettings():
            train, test = digits.load(settings.side)
            spec = ImageSpec(10, 1, settings.side, (0.3046,), (0.3185,), _UPRIGHT)
        case IdxSettings():
            train, test = idx.load(settings.name, directory or data_dir(), progress)
            mnist = settings.name == "mnist"
            mean, std = ((0.1307,), (0.3081,)) if mnist else ((0.2861,), (0.3530,))
            spec = ImageSpec(10, 1, train.images.shape[-1], mean, std, _UPRIGHT if mnist else _ANY)
        case GaussiansSettings():
            train, test = gaussians.load(
                settings.classes, settings.channels, settings.side, settings.samples_per_class, seed
            )
            grey = (0.5,) * settings.channels
            spec = ImageSpec(settings.classes, settings.channels, settings.side, grey, (0.25,) * len(grey), _ANY)
    return Dataset(
        settings.name,
        spec,
        _limit(train, settings.train_samples, settings.name, "train"),
        _limit(test, settings.test_samples, settings.name, "test"),
    )


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


def _limit(samples: Samples, size: int | None, name: str, split: str) -> Samples:
    if size is None or size >= len(samples):
        return samples
    return samples.take(generator(0, name, split, "limit").permutation(len(samples))[:size])


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
