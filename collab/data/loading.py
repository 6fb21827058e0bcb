"""From the settings of a data set to the data set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from collab.data import cifar, cifar_jpeg, digits, gaussians, idx, image_folder, svhn
from collab.data.catalogue import ANY, KNOWN
from collab.data.dataset import Dataset, ImageSpec, Samples
from collab.data.decoded import Parts
from collab.data.progress import Progress, silence
from collab.data.settings import (
    AnyDatasetSettings,
    Cifar10JpegSettings,
    Cifar10Settings,
    DigitsSettings,
    GaussiansSettings,
    IdxSettings,
    ImageFolderSettings,
    SvhnSettings,
)
from simnet.draws import generator

DATA_DIR_VARIABLE = "COLLAB_DATA_DIR"


def data_dir() -> Path:
    """The data directory: `COLLAB_DATA_DIR`, or a folder in the user's cache."""
    chosen = os.environ.get(DATA_DIR_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "collab" / "data"


def load_dataset(
    settings: AnyDatasetSettings,
    seed: int,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read (or download, or make) a data set. Raises `collab.errors.DataError` if that fails."""
    (train, test), spec = _parts(settings, seed, directory or data_dir(), progress or silence)
    if settings.augmentation is not None:
        spec = replace(spec, augmentation=settings.augmentation)
    return Dataset(
        settings.name,
        spec,
        _limit(train, settings.train_samples, settings.name, "train"),
        _limit(test, settings.test_samples, settings.name, "test"),
    )


def _parts(settings: AnyDatasetSettings, seed: int, directory: Path, progress: Progress) -> tuple[Parts, ImageSpec]:
    match settings:
        case DigitsSettings():
            return digits.load(settings.side), replace(KNOWN[settings.name].spec, side=settings.side)
        case IdxSettings():
            return idx.load(settings.name, directory, progress), KNOWN[settings.name].spec
        case Cifar10Settings():
            return cifar.load(directory, progress), KNOWN[settings.name].spec
        case Cifar10JpegSettings():
            return cifar_jpeg.load(directory, progress), KNOWN[settings.name].spec
        case SvhnSettings():
            return svhn.load(directory, progress), KNOWN[settings.name].spec
        case ImageFolderSettings():
            return _image_folder(settings, directory, progress)
        case GaussiansSettings():
            parts = gaussians.load(settings.classes, settings.channels, settings.side, settings.samples_per_class, seed)
            grey, deviation = (0.5,) * settings.channels, (0.25,) * settings.channels
            return parts, ImageSpec(settings.classes, settings.channels, settings.side, grey, deviation, ANY)


def _image_folder(settings: ImageFolderSettings, directory: Path, progress: Progress) -> tuple[Parts, ImageSpec]:
    parts, classes = image_folder.load(
        settings.path,
        directory,
        channels=settings.channels,
        side=settings.side,
        test_share=settings.test_share,
        split_seed=settings.split_seed,
        progress=progress,
    )
    mean, std = settings.mean, settings.std
    if mean is None or std is None:
        found_mean, found_std = image_folder.statistics(parts[0].images)
        mean, std = mean or found_mean, std or found_std
    return parts, ImageSpec(len(classes), settings.channels, settings.side, mean, std, ANY)


def _limit(samples: Samples, size: int | None, name: str, split: str) -> Samples:
    if size is None or size >= len(samples):
        return samples
    return samples.take(generator(0, name, split, "limit").permutation(len(samples))[:size])
