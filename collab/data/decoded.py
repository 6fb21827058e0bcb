"""Decoded data sets, kept as plain arrays, because unpacking 60,000 images takes longer than most experiments' start.

A cache file holds the arrays of one source in safetensors form, a note of whoever decoded it, and the source's
fingerprint (size and time of change of the archive, or of every file of a folder). It lies in `.decoded` in the data
directory if that can be written, otherwise in the user's cache; it is written under another name first, so that a
reader never finds half of one. A cache whose fingerprint differs, or that cannot be read, is made anew; a cache that
can be written nowhere is done without, which is logged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from collab.array_file import in_order
from collab.data.dataset import Samples

Parts = tuple[Samples, Samples]
_FORMAT = "5"  # of the cache, and of what the decoders make; to be raised when either changes
_FOR_ALL = 0o644
_LOG = logging.getLogger(__name__)


def decoded(
    name: str, sources: Sequence[Path], data_dir: Path, decode: Callable[[], Parts], variant: str = ""
) -> Parts:
    """Training and test samples of files or folders, from the cache or by `decode`, whose exceptions pass through.

    `variant` tells apart what is decoded from the same sources in different ways.
    """
    return decoded_with_note(name, sources, data_dir, lambda: (decode(), ""), variant)[0]


def decoded_with_note(
    name: str, sources: Sequence[Path], data_dir: Path, decode: Callable[[], tuple[Parts, str]], variant: str = ""
) -> tuple[Parts, str]:
    """As `decoded`, and a text that belongs to the samples, kept with them."""
    fingerprint = " ".join(fingerprint_of(source) for source in sources)
    identity = [_FORMAT, *(str(source.resolve()) for source in sources), variant]
    key = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
    paths = [directory / f"{name}-{key}.safetensors" for directory in cache_directories(data_dir)]
    for path in paths:
        found = _read(path, fingerprint)
        if found is not None:
            return found
    parts, note = decode()
    if not any(_write(path, fingerprint, parts, note) for path in paths):
        _LOG.warning("%s will be decoded again next time: no cache can be written in %s", name, paths[-1].parent)
    return parts, note


def fingerprint_of(source: Path) -> str:
    """Something that changes when a file, or a file of a folder, is replaced. Raises `OSError`."""
    if source.is_file():
        return _stamp(source.stat())
    digest = hashlib.sha256()
    for path, status in _files(source):
        digest.update(f"{path.relative_to(source)} {_stamp(status)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path), entry.stat()


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def cache_directories(data_dir: Path) -> Iterator[Path]:
    """Where caches may lie, best first. A directory marked read-only is left alone even by those who could write."""
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    if data_dir.is_dir() and data_dir.stat().st_mode & writable:
        yield data_dir / ".decoded"
    yield Path.home() / ".cache" / "collab" / "decoded"


def _read(path: Path, fingerprint: str) -> tuple[Parts, str] | None:
    """The samples in a cache file, and the note; None if there is none, or not of this source, or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if (metadata.get("source"), metadata.get("format")) != (fingerprint, _FORMAT):
                return None
            train, test = (_samples(file, split, metadata) for split in ("train", "test"))
    except (OSError, SafetensorError) as error:
        _LOG.warning("%s is damaged and is made anew: %s", path, error)
        return None
    return (train, test), metadata["note"]


def _samples(file: Any, split: str, metadata: Mapping[str, str]) -> Samples:
    names = json.loads(metadata[f"{split}_sites"])
    sites = None if names is None else np.array(names, np.str_)[file.get_tensor(f"{split}_sites")]
    return Samples(file.get_tensor(f"{split}_images"), file.get_tensor(f"{split}_labels"), sites)


def _write(path: Path, fingerprint: str, parts: Parts, note: str) -> bool:
    """Whether the cache file could be written."""
    arrays: dict[str, NDArray[Any]] = {}
    metadata = {"source": fingerprint, "format": _FORMAT, "note": note}
    for split, samples in zip(("train", "test"), parts, strict=True):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = samples.images, samples.labels
        names = None
        if samples.sites is not None:
            known, arrays[f"{split}_sites"] = np.unique(samples.sites, return_inverse=True)
            names = known.tolist()
        metadata[f"{split}_sites"] = json.dumps(names)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(in_order(arrays), partial, metadata=metadata)
        partial.chmod(_FOR_ALL)  # safetensors makes files that nobody else may read
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        _LOG.info("no cache in %s: %s", path.parent, error)
        return False
    finally:
        if partial.exists():
            partial.unlink()
    return True
