"""CIFAR-10 (JPEG): CIFAR-10 as 60,000 JPEG files, which is lossy, so accuracies are a little below CIFAR-10's.

In an archive `cifar10-images.tar.xz` (or .tar.gz, .tar) or a folder `cifar10-images`, laid out as
`{train,test}/CLASS/NNNN.jpg`, with the ten classes of CIFAR-10. Decoding takes a while and is done once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from collab.data.archives import members
from collab.data.catalogue import KNOWN, how_to_get, places
from collab.data.dataset import Samples
from collab.data.decoded import Parts, decoded
from collab.data.pixels import ImageError, read_pixels
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

NAME = "cifar10-jpeg"
FOLDER = "cifar10-images"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ARCHIVES = (f"{FOLDER}.tar.xz", f"{FOLDER}.tar.gz", f"{FOLDER}.tar")
_LARGEST_FILE_BYTES = 100_000
_TELL_EVERY = 500


def load(data_dir: Path, progress: Progress = silence) -> Parts:
    """Training and test samples, uint8 [n, 3, 32, 32], ordered by class and file name.

    Raises `DataError` if there is neither archive nor folder, `DamagedDataError` for a file that cannot be read.
    """
    path = locate(data_dir)
    if path is None:
        where = " nor ".join(str(place) for place in places(NAME, data_dir))
        raise DataError(f"{NAME}: there is no {_ARCHIVES[0]} and no folder {FOLDER} in {where}; {how_to_get(NAME)}")
    return decoded(NAME, (path,), data_dir, lambda: decode(path, progress))


def locate(data_dir: Path) -> Path | None:
    """The folder or archive that will be read; an unpacked set is preferred."""
    for place in places(NAME, data_dir):
        if (place / FOLDER).is_dir():
            return place / FOLDER
        for archive in _ARCHIVES:
            if (place / archive).is_file():
                return place / archive
    return None


def image_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Each JPEG of a folder or an archive: its name as SPLIT/CLASS/NNNN.jpg, and its content.

    Raises `DamagedDataError` for what stands where it should not, or an archive that cannot be read.
    """
    for name, content in _all_files(path):
        split, label = name.parts[0], name.parts[1] if len(name.parts) > 1 else ""
        if name.suffix not in (".jpg", ".jpeg"):
            continue
        if len(name.parts) != 3 or split not in ("train", "test") or label not in CLASSES:
            raise DamagedDataError(f"{path}: {name} is not called {{train,test}}/CLASS/NNNN.jpg")
        yield name, content


def _all_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield PurePosixPath(file.relative_to(path).as_posix()), file.read_bytes()
        return
    for name, content in members(path, _LARGEST_FILE_BYTES):
        if FOLDER in name.parts[:-1]:
            yield PurePosixPath(*name.parts[name.parts.index(FOLDER) + 1 :]), content


def decode(path: Path, progress: Progress = silence) -> Parts:
    """The samples in a folder or an archive, without the cache. Raises `DamagedDataError`."""
    total = KNOWN[NAME].train_samples + KNOWN[NAME].test_samples
    found: dict[str, dict[PurePosixPath, np.ndarray]] = {"train": {}, "test": {}}
    for count, (name, content) in enumerate(image_files(path), start=1):
        try:
            found[name.parts[0]][name] = read_pixels(content, 3, 32, scale=False)
        except ImageError as error:
            raise DamagedDataError(f"{path}: {name} {error}") from error
        if count % _TELL_EVERY == 0 or count == total:
            progress(f"decoding {path.name}", count, total, "images")
    train, test = (_ordered(images) for images in found.values())
    for split, samples in (("train", train), ("test", test)):
        if not len(samples):
            raise DamagedDataError(f"{path} holds no {split} image")
    return train, test


def _ordered(images: dict[PurePosixPath, np.ndarray]) -> Samples:
    """The samples by class and file name: the order of an archive's members is anybody's."""
    names = sorted(images)
    pixels = np.stack([images[name] for name in names]) if names else np.empty((0, 3, 32, 32), np.uint8)
    return Samples(pixels, np.array([CLASSES.index(name.parts[1]) for name in names], dtype=np.int64))
