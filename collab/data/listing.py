"""Which data sets there are, and which of them lie in the data directory. Files are looked for, not read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collab.data import cifar, cifar_jpeg, idx, svhn
from collab.data.catalogue import KNOWN
from collab.data.flows import sources

_PARTS = {"mnist": len(idx.FILES), "fashion-mnist": len(idx.FILES), svhn.NAME: len(svhn.FILES)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set, and how much of it is there.

    `shape` is channels x height x width, empty where settings decide; `present` is "yes", "no", "partly" or, for
    what needs no files or names them itself, "always" or "by path". `fetchable` says whether it can be downloaded.
    """

    name: str
    title: str
    what: str
    train_samples: int | None
    test_samples: int | None
    shape: str
    present: str
    where: tuple[str, ...]
    size_bytes: int
    fetchable: bool


def entries(data_dir: Path) -> list[Entry]:
    """Every data set that a scenario can name."""
    found = []
    for known in KNOWN.values():
        paths = located(known.name, data_dir)
        if known.name == "digits":
            present = "always"
        elif not paths:
            present = "no"
        elif known.name == sources.NIDD:
            present = "yes" if paths[0].name == sources.COMBINED or len(paths) > 1 else "partly"
        else:
            present = "yes" if len(paths) >= _PARTS.get(known.name, 1) else "partly"
        spec = known.spec
        shape = f"{spec.channels}x{spec.side}x{spec.side}"
        found.append(
            Entry(
                known.name, known.title, known.what, known.train_samples, known.test_samples, shape, present,
                tuple(str(path) for path in _together(paths)), _size_bytes(paths), bool(known.files),
            )
        )  # fmt: skip
    for name, what, present in (
        ("gaussians", "random images, made here", "always"),
        ("image-folder", "any folder of images", "by path"),
        ("5g-nidd-synthetic", "traffic, made here", "always"),
        ("flow-csv", "flow records by a mapping", "by path"),
    ):
        found.append(Entry(name, name, what, None, None, "", present, (), 0, fetchable=False))
    return found


def located(name: str, data_dir: Path) -> tuple[Path, ...]:
    """The files or folders in which a known set would be read, those that are there."""
    if name in ("mnist", "fashion-mnist"):
        return idx.locate(name, data_dir)
    if name == svhn.NAME:
        return svhn.locate(data_dir)
    if name == cifar_jpeg.NAME:
        path = cifar_jpeg.locate(data_dir)
        return () if path is None else (path,)
    if name == sources.NIDD:
        return sources.locate(data_dir)
    if name == cifar.NAME:
        found = cifar.locate(data_dir)
        return () if found is None else (found[1],)
    return ()


def _together(paths: Iterable[Path]) -> list[Path]:
    """Files of one folder as the folder, if there are several."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    return [folder if len(held) > 1 else held[0] for folder, held in folders.items()]


def _size_bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        files = path.rglob("*") if path.is_dir() else (path,)
        total += sum(file.stat().st_size for file in files if file.is_file())
    return total
