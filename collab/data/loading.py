"""From the settings of a data set to the data set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from collab.data import cifar, cifar_jpeg, digits, gaussians, idx, image_folder, svhn
from collab.data.catalogue import ANY, KNOWN
from collab.data.dataset import Dataset, ImageSpec, Samples
from collab.data.decoded import Parts
from collab.data.flows.settings import FlowCsvSettings, NiddSettings, SyntheticNiddSettings
from collab.data.progress import Progress, silence
from collab.data.settings import (
    AnyDatasetSettings,
    Cifar10JpegSettings,
    Cifar10Settings,
    DigitsSettings,
    GaussiansSettings,
    IdxSettings,
    ImageFolderSettings,
    ImageSettings,
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
    directory, progress = directory or data_dir(), progress or silence
    if isinstance(settings, NiddSettings | SyntheticNiddSettings | FlowCsvSettings):
        whole = _flows(settings, directory, progress)
    else:
        (train, test), spec = _parts(settings, seed, directory, progress)
        whole = Dataset(settings.name, spec, train, test)
    if settings.augmentation is not None:
        whole = replace(whole, spec=replace(whole.spec, augmentation=settings.augmentation))
    return replace(
        whole,
        train=_limit(whole.train, settings.train_samples, settings.name, "train"),
        test=_limit(whole.test, settings.test_samples, settings.name, "test"),
    )


def _flows(
    settings: NiddSettings | SyntheticNiddSettings | FlowCsvSettings, directory: Path, progress: Progress
) -> Dataset:
    from collab.data.flows import sources  # here: its readers of columns take 50 MB, and few data sets need them

    made = sources.load(settings, directory, progress)
    form, (train, test) = made.recipe.format, made.parts
    spec = sources.spec_of(form, settings.side)
    return Dataset(settings.name, spec, train, test, form.class_names, form.benign_class, made.recipe, title=made.title)


def _parts(settings: ImageSettings, seed: int, directory: Path, progress: Progress) -> tuple[Parts, ImageSpec]:
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
