"""Downloading whole data sets. Nothing that is there already is touched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collab.data import cifar
from collab.data.catalogue import KNOWN, Known
from collab.data.download import download
from collab.data.listing import located
from collab.data.progress import Progress, silence
from collab.document import nearest
from collab.errors import DataError

_NOT_FETCHED = {
    "digits": "it comes with the package",
    "gaussians": "it is made when it is used",
    "image-folder": "dataset.path names a folder of yours",
    "flow-csv": "dataset.path names files of yours",
    "5g-nidd-synthetic": "it is made when it is used",
    "5g-nidd": "it is published behind a log-in, at doi:10.21227/xtep-hv36; put Combined.csv into the folder 5g-nidd "
    "of the data directory",
    "cifar10-jpeg": "it is published nowhere; put cifar10-images.tar.xz into the data directory, or use cifar10",
}


def known_names(names: Sequence[str]) -> list[Known]:
    """The sets called so. Raises `DataError` for a name without a meaning, or of a set that cannot be downloaded."""
    for name in names:
        if name in _NOT_FETCHED:
            raise DataError(f"{name} is not downloaded: {_NOT_FETCHED[name]}")
        if name not in KNOWN:
            fetchable = [known.name for known in KNOWN.values() if known.files]
            raise DataError(f'there is no data set "{name}"{nearest(name, fetchable)}')
    return [KNOWN[name] for name in dict.fromkeys(names)]


def fetch(known: Known, data_dir: Path, progress: Progress = silence) -> list[Path]:
    """Download what is missing of a set; the new files. Raises `DataError`.

    A set that is there in another form (unpacked, or the python form of CIFAR-10) is there.
    """
    if known.name == cifar.NAME and located(known.name, data_dir):
        return []
    held = {path.name.removesuffix(".gz") for path in located(known.name, data_dir)}
    new = []
    for file in known.files:
        if file.name.removesuffix(".gz") not in held:
            path = data_dir / known.name / file.name
            download(file, path, progress)
            new.append(path)
    return new
