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
from collab.data.settings import DatasetSettings, DigitsSettings, GaussiansSettings, IdxSettings

__all__ = [
    "DATA_DIR_VARIABLE",
    "ByColumnSettings",
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
    "PathologicalSettings",
    "QuantitySkewSettings",
    "Samples",
    "SiteData",
    "data_dir",
    "divide",
    "load_dataset",
]
