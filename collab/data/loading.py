"""From the settings of a data set to the data set."""

from __future__ import annotations

import os
from pathlib import Path

from collab.augment import Operation
from collab.data import digits, gaussians, idx
from collab.data.dataset import Dataset, ImageSpec, Samples
from collab.data.idx import Progress
from collab.data.settings import DigitsSettings, GaussiansSettings, IdxSettings
from simnet.draws import generator

DATA_DIR_VARIABLE = "COLLAB_DATA_DIR"

# Digits are never mirrored: a mirrored 2 is no digit (sheet of the DC authors; the published code mirrors all).
_UPRIGHT: tuple[Operation, ...] = ("color", "crop", "cutout", "scale", "rotate")
_ANY: tuple[Operation, ...] = ("color", "crop", "cutout", "flip", "scale", "rotate")


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


def _limit(samples: Samples, size: int | None, name: str, split: str) -> Samples:
    if size is None or size >= len(samples):
        return samples
    return samples.take(generator(0, name, split, "limit").permutation(len(samples))[:size])
