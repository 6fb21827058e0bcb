"""SVHN (Netzer et al. 2011), format 2: cropped digits of 32x32 in the published .mat files, without the extra part.

`train_32x32.mat` and `test_32x32.mat`, in the data directory or in its folder `svhn`: X is uint8 [32, 32, 3, n], y
holds the labels 1 to 10, where 10 is the digit 0.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from collab.data.catalogue import KNOWN, how_to_get, places
from collab.data.dataset import Samples
from collab.data.decoded import Parts, decoded
from collab.data.download import download
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

NAME = "svhn"
_SIDE = 32
# What scipy's reader raises for files that are damaged, or are no .mat files of version 4 to 7.
_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, LookupError, NotImplementedError, OverflowError, MemoryError, zlib.error,
)  # fmt: skip
FILES = ("train_32x32.mat", "test_32x32.mat")


def load(data_dir: Path, progress: Progress = silence) -> Parts:
    """Training and test samples, uint8 [n, 3, 32, 32]; downloaded if they are nowhere.

    Raises `DataError` if they are missing and cannot be downloaded, `DamagedDataError` for what is damaged.
    """
    paths = tuple(_find(file, data_dir, progress) for file in FILES)

    def decode() -> Parts:
        train, test = (read(path, progress) for path in paths)
        return train, test

    return decoded(NAME, paths, data_dir, decode)


def locate(data_dir: Path) -> tuple[Path, ...]:
    """The files of the set that are there, at most two."""
    found = (_present(file, data_dir) for file in FILES)
    return tuple(path for path in found if path is not None)


def _present(file: str, data_dir: Path) -> Path | None:
    candidates = (place / file for place in places(NAME, data_dir))
    return next((path for path in candidates if path.is_file()), None)


def _find(name: str, data_dir: Path, progress: Progress) -> Path:
    found = _present(name, data_dir)
    if found is not None:
        return found
    path = data_dir / NAME / name
    file = next(file for file in KNOWN[NAME].files if file.name == name)
    try:
        download(file, path, progress)
    except DataError as error:
        where = " nor ".join(str(place) for place in places(NAME, data_dir))
        raise DataError(f"{NAME}: there is no {name} in {where}, and {error}; {how_to_get(NAME)}") from error
    return path


def read(path: Path, progress: Progress = silence) -> Samples:
    """The samples in one file, without the cache. Raises `DamagedDataError`."""
    from scipy.io import loadmat  # here: only this set needs it
    from scipy.io.matlab import MatReadError

    progress(f"reading {path.name}", 0, 0, "images")
    try:
        content = loadmat(path, variable_names=("X", "y"))
    except (MatReadError, *_UNREADABLE) as error:
        raise DamagedDataError(f"{path} cannot be read as a .mat file: {error or type(error).__name__}") from error
    if "X" not in content or "y" not in content:
        raise DamagedDataError(f"{path} lacks X or y: expected the cropped digits (format 2)")
    images, labels = content["X"], np.asarray(content["y"]).reshape(-1)
    if images.dtype != np.uint8 or images.shape != (_SIDE, _SIDE, 3, len(labels)):
        raise DamagedDataError(
            f"{path}: X is {images.dtype} {list(images.shape)}, expected uint8 [32, 32, 3, n] with n = {len(labels)}, "
            "the number of labels"
        )
    if labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(1, 11)).all():
        raise DamagedDataError(f"{path}: y holds something else than 1 to 10")
    samples = Samples(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels.astype(np.int64) % 10)
    progress(f"reading {path.name}", len(labels), len(labels), "images")
    return samples
