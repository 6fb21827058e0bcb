"""MNIST and Fashion-MNIST in the published IDX form: read from a data directory, or downloaded into it.

The four files of a set lie in a folder of its name (`mnist/train-images-idx3-ubyte.gz`, ...), compressed or not. A
download is checked against the MD5 of the published file before it gets its name.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collab.data.dataset import Samples
from collab.errors import DataError

Progress = Callable[[str, int, int], None]
_TIMEOUT_S = 20.0
_CHUNK_BYTES = 1 << 16
_UNSIGNED_BYTE = 0x08

_FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True, slots=True)
class Published:
    """Where a set is published, and the MD5 of each compressed file."""

    url: str
    md5: Mapping[str, str]


PUBLISHED: Mapping[str, Published] = {
    "mnist": Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def load(name: str, data_dir: Path, progress: Progress | None = None) -> tuple[Samples, Samples]:
    """Training and test samples of the set called `name`.

    Raises `DataError` for a file that is missing and cannot be downloaded, or is damaged.
    """
    parts = {}
    for split in ("train", "test"):
        images = _read(_find(name, split, "images", data_dir, progress), axes=3)
        labels = _read(_find(name, split, "labels", data_dir, progress), axes=1)
        if len(images) != len(labels):
            raise DataError(f"{name}: {len(images)} {split} images but {len(labels)} labels in {data_dir / name}")
        parts[split] = Samples(images[:, None], labels.astype(np.int64))
    return parts["train"], parts["test"]


def _find(name: str, split: str, what: str, data_dir: Path, progress: Progress | None) -> Path:
    base = _FILES[split, what]
    for candidate in (data_dir / name / f"{base}.gz", data_dir / name / base):
        if candidate.is_file():
            return candidate
    return _download(name, base, data_dir / name / f"{base}.gz", progress)


def _download(name: str, base: str, path: Path, progress: Progress | None) -> Path:
    published = PUBLISHED[name]
    url = f"{published.url}{base}.gz"
    partial = path.with_name(path.name + ".partial")
    md5 = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, partial.open("wb") as file:
            total, done = int(response.headers.get("Content-Length", 0)), 0
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                md5.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(f"{name}: {base}", done, total)
        if md5.hexdigest() != published.md5[base]:
            raise DataError(f"{name}: {url} has the MD5 {md5.hexdigest()}, expected {published.md5[base]}")
        partial.rename(path)
    except (OSError, urllib.error.URLError) as error:
        raise DataError(
            f"{name}: no file {path}, and it cannot be downloaded from {url} ({error}); "
            f"set COLLAB_DATA_DIR to a directory that holds {name}/{base}.gz"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _read(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of one IDX file: two zero bytes, type, number of axes, extents (big-endian), data."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(content) < 4 * (axes + 1) or content[:4] != bytes((0, 0, _UNSIGNED_BYTE, axes)):
        raise DataError(f"{path} is not an IDX file of {axes} axes of bytes: it begins with {content[:4].hex()}")
    shape = tuple(int(extent) for extent in np.frombuffer(content, ">u4", count=axes, offset=4))
    expected = 4 * (axes + 1) + math.prod(shape)
    if len(content) != expected:
        raise DataError(f"{path} should have {expected} bytes for the shape {shape}, found {len(content)}")
    # Copied: an array over bytes is read-only, which torch warns about.
    return np.frombuffer(content, np.uint8, offset=4 * (axes + 1)).reshape(shape).copy()
