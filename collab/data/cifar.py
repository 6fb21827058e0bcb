"""CIFAR-10 (Krizhevsky 2009) in the two forms in which it is published: binary, and python (pickles).

Each as the published archive or unpacked, in the data directory or in its folder `cifar10`. The binary form is
preferred, and is what is downloaded: reading it runs nothing. Both hold the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collab.data.archives import members
from collab.data.catalogue import KNOWN, how_to_get, places
from collab.data.cifar_pickle import PickleError, read_batch
from collab.data.dataset import Samples
from collab.data.decoded import Parts, decoded
from collab.data.download import download
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

NAME = "cifar10"
_SIDE = 32
_RECORD_BYTES = 1 + 3 * _SIDE**2  # the label, then the red, the green and the blue plane, row by row
_LARGEST_FILE_BYTES = 64_000_000  # the published batches have 31 MB
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCH = "test_batch"
BATCHES = (*_TRAIN_BATCHES, _TEST_BATCH)

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Form:
    """One of the published forms: names of the archive and of the folder in it, and how a batch is read."""

    archive: str
    folder: str
    suffix: str
    read: Callable[[bytes], Batch]


def _read_binary(content: bytes) -> Batch:
    if not content or len(content) % _RECORD_BYTES:
        raise ValueError(f"has {len(content)} bytes, expected a multiple of {_RECORD_BYTES}")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise ValueError(f"has the label {labels.max()}, expected 0 to 9")
    return records[:, 1:], labels


FORMS = (
    Form("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin", _read_binary),
    Form("cifar-10-python.tar.gz", "cifar-10-batches-py", "", read_batch),
)


def load(data_dir: Path, progress: Progress = silence) -> Parts:
    """Training and test samples, uint8 [n, 3, 32, 32]; downloaded if they are nowhere.

    Raises `DataError` if they are missing and cannot be downloaded, `DamagedDataError` for what is damaged.
    """
    found = locate(data_dir)
    if found is None:
        found = FORMS[0], _fetched(data_dir, progress)
    form, path = found
    if path.is_dir():
        return read(form, path, progress)
    return decoded(NAME, (path,), data_dir, lambda: read(form, path, progress))


def locate(data_dir: Path) -> tuple[Form, Path] | None:
    """The folder or archive that will be read, and its form; an unpacked set is preferred."""
    for place in places(NAME, data_dir):
        for form in FORMS:
            if (place / form.folder).is_dir():
                return form, place / form.folder
            if (place / form.archive).is_file():
                return form, place / form.archive
    return None


def batch_files(form: Form, path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each batch in a folder or an archive. Raises `DamagedDataError` if one is missing."""
    wanted = {f"{batch}{form.suffix}": batch for batch in BATCHES}
    if path.is_dir():
        for name in wanted:
            if not (path / name).is_file():
                raise DamagedDataError(f"{path} lacks {name}; expected {', '.join(wanted)}")
            yield name, (path / name).read_bytes()
        return
    left = set(wanted)
    for member, content in members(path, _LARGEST_FILE_BYTES):
        if member.parent.name == form.folder and member.name in left:
            left.remove(member.name)
            yield member.name, content
    if left:
        raise DamagedDataError(f"{path} lacks {', '.join(sorted(left))} in {form.folder}")


def read(form: Form, path: Path, progress: Progress = silence) -> Parts:
    """The samples in a folder or an archive of one form, without the cache. Raises `DamagedDataError`."""
    batches: dict[str, Batch] = {}
    for name, content in batch_files(form, path):
        try:
            batches[name.removesuffix(form.suffix)] = form.read(content)
        except (PickleError, ValueError) as error:
            raise DamagedDataError(f"{path}: {name} {error}") from error
        done = sum(len(labels) for _, labels in batches.values())
        progress(f"reading {path.name}", done, KNOWN[NAME].train_samples + KNOWN[NAME].test_samples, "images")
    return _joined([batches[batch] for batch in _TRAIN_BATCHES]), _joined([batches[_TEST_BATCH]])


def _joined(batches: list[Batch]) -> Samples:
    images = np.concatenate([images for images, _ in batches]).reshape(-1, 3, _SIDE, _SIDE)
    return Samples(images, np.concatenate([labels for _, labels in batches]))


def _fetched(data_dir: Path, progress: Progress) -> Path:
    file = KNOWN[NAME].files[0]
    path = data_dir / NAME / file.name
    looked_for = " or ".join(f"{form.folder}, {form.archive}" for form in FORMS)
    try:
        download(file, path, progress)
    except DataError as error:
        where = " nor ".join(str(place) for place in places(NAME, data_dir))
        raise DataError(f"{NAME}: there is no {looked_for} in {where}, and {error}; {how_to_get(NAME)}") from error
    return path
