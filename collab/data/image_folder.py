"""Any folder of images: its sub-folders are the classes, in the order of their names.

    FOLDER/CLASS/...           divided into a training and a test part, class by class
    FOLDER/{train,test}/CLASS/...   already divided

A table `FOLDER/sites.csv` may say where each image was taken (`collab.data.sites`), for the partition `by_column`.
Images lie at any depth below their class, in any format of `EXTENSIONS`; other files are passed over. Each is cut to
its middle square and scaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collab.data.dataset import Samples
from collab.data.decoded import Parts, decoded
from collab.data.pixels import ImageError, read_pixels
from collab.data.progress import Progress, silence
from collab.data.sites import SITES_FILE, read_sites
from collab.errors import DamagedDataError, DataError
from simnet.draws import generator

NAME = "image-folder"
EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
_TELL_EVERY = 100

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Listed:
    """The image files of a part and the number of each one's class."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]


def load(
    folder: str,
    data_dir: Path,
    *,
    channels: int,
    side: int,
    test_share: float,
    split_seed: int,
    progress: Progress = silence,
) -> tuple[Parts, tuple[str, ...]]:
    """Training and test samples, uint8 [n, channels, side, side], and the names of the classes.

    The training samples know their sites if there is a table of them. A relative `folder` is looked for in the
    current directory, then in the data directory. Raises `DataError` if it is not there or has no classes,
    `DamagedDataError` for an image that cannot be read.
    """
    path = find(folder, data_dir)
    classes = class_names(path)
    listed = divide_files(path, classes, test_share, split_seed)

    def decode() -> Parts:
        total = sum(len(part.files) for part in listed)
        train = _read(listed[0], channels, side, progress, 0, total)
        return train, _read(listed[1], channels, side, progress, len(train), total)

    variant = f"{channels} {side} {test_share} {split_seed}"
    train, test = decoded(NAME, (path,), data_dir, decode, variant)
    if (path / SITES_FILE).is_file():
        names = [file.relative_to(path).as_posix() for file in listed[0].files]
        train = replace(train, sites=read_sites(path / SITES_FILE, names))
    return (train, test), classes


def find(folder: str, data_dir: Path) -> Path:
    """The folder. Raises `DataError` with the places where it is not."""
    named = Path(folder).expanduser()
    candidates = [named] if named.is_absolute() else [Path.cwd() / named, data_dir / named]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = " nor ".join(map(str, candidates))
    raise DataError(
        f"{NAME}: there is no folder {tried}; give dataset.path, absolute or below the current directory or the "
        "directory that COLLAB_DATA_DIR names"
    )


def class_names(path: Path) -> tuple[str, ...]:
    """Names of the classes, sorted; those of the training part if the folder is divided already."""
    divided = _divided(path)
    names = _folders(path / "train" if divided else path)
    if len(names) < 2:
        where = path / "train" if divided else path
        raise DataError(f"{NAME}: {where} has {len(names)} sub-folders; expected one a class, two or more")
    if divided:
        unknown = [name for name in _folders(path / "test") if name not in names]
        if unknown:
            raise DataError(f"{NAME}: {path / 'test' / unknown[0]} is a class that {path / 'train'} lacks")
    return names


def divide_files(path: Path, classes: Sequence[str], test_share: float, split_seed: int) -> tuple[Listed, Listed]:
    """Files of the training part and of the test part.

    A folder that is not divided yet is divided class by class: of n images, `test_share` n, rounded, but at least
    one and at most n - 1, are drawn for the test part; a single image is trained with.
    """
    if _divided(path):
        train, test = (_listed(path / part, classes) for part in ("train", "test"))
    else:
        everything = _listed(path, classes)
        labels = np.array(everything.labels)
        chosen = np.zeros(len(labels), dtype=bool)
        for label, name in enumerate(classes):
            members = np.flatnonzero(labels == label)
            size = min(max(1, round(test_share * len(members))), len(members) - 1)
            order = generator(split_seed, NAME, "split", name).permutation(len(members))
            chosen[members[order[:size]]] = True
        train, test = _picked(everything, ~chosen), _picked(everything, chosen)
    for part, where in ((train, "training"), (test, "test")):
        if not part.files:
            raise DataError(f"{NAME}: {path} holds no image for the {where} part")
    return train, test


def statistics(images: NDArray[np.uint8]) -> Statistics:
    """Mean and standard deviation of each channel of uint8 [n, channels, side, side], of pixels in [0, 1].

    From counts of the 256 values, so exact whatever the number of images; a deviation of 0 becomes 1.
    """
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1), minlength=256)
        mean = float(counts @ values / counts.sum())
        deviation = float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
        means.append(mean)
        deviations.append(deviation or 1.0)
    return tuple(means), tuple(deviations)


def _divided(path: Path) -> bool:
    """Whether the folder is divided into train and test. Raises `DataError` if only one of both is there."""
    train, test = ((path / part).is_dir() for part in ("train", "test"))
    if train != test:
        there, missing = ("train", "test") if train else ("test", "train")
        raise DataError(f"{NAME}: {path} has a folder {there}, but no folder {missing}; expected both or neither")
    return train


def _folders(path: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "._"))


def _listed(path: Path, classes: Sequence[str]) -> Listed:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(_images(path / name)) if (path / name).is_dir() else []
        files += members
        labels += [label] * len(members)
    return Listed(tuple(files), tuple(labels))


def _images(path: Path) -> Iterator[Path]:
    for file in path.rglob("*"):
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file():
            yield file


def _picked(listed: Listed, chosen: NDArray[np.bool_]) -> Listed:
    where = np.flatnonzero(chosen)
    return Listed(tuple(listed.files[i] for i in where), tuple(listed.labels[i] for i in where))


def _read(listed: Listed, channels: int, side: int, progress: Progress, before: int, total: int) -> Samples:
    images = np.empty((len(listed.files), channels, side, side), np.uint8)
    for index, file in enumerate(listed.files):
        try:
            images[index] = read_pixels(file, channels, side, scale=True)
        except ImageError as error:
            raise DamagedDataError(f"{NAME}: {file} {error}") from error
        done = before + index + 1
        if done % _TELL_EVERY == 0 or done == total:
            progress("reading images", done, total, "images")
    return Samples(images, np.array(listed.labels, dtype=np.int64))
