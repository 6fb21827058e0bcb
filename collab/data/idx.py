"""MNIST and Fashion-MNIST in the published IDX form: read from a data directory, or downloaded into it.

The four files of a set lie in a folder of its name (`mnist/train-images-idx3-ubyte.gz`, ...), compressed or not.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collab.data.catalogue import KNOWN, how_to_get
from collab.data.dataset import Samples
from collab.data.download import download
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

_UNSIGNED_BYTE = 0x08

FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


def load(name: str, data_dir: Path, progress: Progress = silence) -> tuple[Samples, Samples]:
    """Training and test samples of the set called `name`; files that are missing are downloaded.

    Raises `DataError` for a file that is missing and cannot be downloaded, `DamagedDataError` for one that is
    damaged.
    """
    parts = {}
    for split in ("train", "test"):
        images = _read(_find(name, split, "images", data_dir, progress), axes=3)
        labels = _read(_find(name, split, "labels", data_dir, progress), axes=1)
        if len(images) != len(labels):
            raise DamagedDataError(
                f"{name}: {len(images)} {split} images but {len(labels)} labels in {data_dir / name}"
            )
        side = KNOWN[name].spec.side
        if images.shape[1:] != (side, side):
            raise DamagedDataError(
                f"{name}: the {split} images have {images.shape[1]}x{images.shape[2]} pixels, expected {side}x{side}"
            )
        classes = KNOWN[name].spec.classes
        if len(labels) and labels.max() >= classes:
            raise DamagedDataError(f"{name}: a {split} label is {labels.max()}, expected 0 to {classes - 1}")
        parts[split] = Samples(images[:, None], labels.astype(np.int64))
    return parts["train"], parts["test"]


def locate(name: str, data_dir: Path) -> tuple[Path, ...]:
    """The files of the set that are there, at most four."""
    found = (_present(name, base, data_dir) for base in FILES.values())
    return tuple(path for path in found if path is not None)


def _present(name: str, base: str, data_dir: Path) -> Path | None:
    candidates = (data_dir / name / f"{base}.gz", data_dir / name / base)
    return next((path for path in candidates if path.is_file()), None)


def _find(name: str, split: str, what: str, data_dir: Path, progress: Progress) -> Path:
    base = FILES[split, what]
    found = _present(name, base, data_dir)
    if found is not None:
        return found
    path = data_dir / name / f"{base}.gz"
    file = next(file for file in KNOWN[name].files if file.name == path.name)
    try:
        download(file, path, progress)
    except DataError as error:
        raise DataError(f"{name}: no file {path} or {path.with_suffix('')}: {error}; {how_to_get(name)}") from error
    return path


def content(path: Path) -> bytes:
    """What is in an IDX file, unpacked. Raises `DamagedDataError`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedDataError(f"{path} cannot be read: {error}") from error


def _read(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of one IDX file: two zero bytes, type, number of axes, extents (big-endian), data."""
    held = content(path)
    if len(held) < 4 * (axes + 1) or held[:4] != bytes((0, 0, _UNSIGNED_BYTE, axes)):
        raise DamagedDataError(f"{path} is not an IDX file of {axes} axes of bytes: it begins with {held[:4].hex()}")
    shape = tuple(int(extent) for extent in np.frombuffer(held, ">u4", count=axes, offset=4))
    expected = 4 * (axes + 1) + math.prod(shape)
    if len(held) != expected:
        raise DamagedDataError(f"{path} should have {expected} bytes for the shape {shape}, found {len(held)}")
    # Copied: an array over bytes is read-only, which torch warns about.
    return np.frombuffer(held, np.uint8, offset=4 * (axes + 1)).reshape(shape).copy()
