"""Data sets and their division over clients."""

from __future__ import annotations

from collab.data.dataset import Dataset, ImageSpec, Samples, SiteData
from collab.data.loading import DATA_DIR_VARIABLE, data_dir, load_dataset
from collab.data.partition_settings import (
    ByColumnSettings,
    DirichletSettings,
    GuaranteedSettings,
    IidSettings,
    PartitionSettings,
    PathologicalSettings,
    QuantitySkewSettings,
)
from collab.data.partitions import divide
from collab.data.settings import (
    Cifar10JpegSettings,
    Cifar10Settings,
    DatasetSettings,
    DigitsSettings,
    GaussiansSettings,
    IdxSettings,
    ImageFolderSettings,
    SvhnSettings,
)

__all__ = [
    "DATA_DIR_VARIABLE",
    "ByColumnSettings",
    "Cifar10JpegSettings",
    "Cifar10Settings",
    "Dataset",
    "DatasetSettings",
    "DigitsSettings",
    "DirichletSettings",
    "GaussiansSettings",
    "GuaranteedSettings",
    "IdxSettings",
    "IidSettings",
    "ImageFolderSettings",
    "ImageSpec",
    "PartitionSettings",
    "PathologicalSettings",
    "QuantitySkewSettings",
    "Samples",
    "SiteData",
    "SvhnSettings",
    "data_dir",
    "divide",
    "load_dataset",
]
